"""The prompt of a multi-hop question, with the character span of each of its parts.

1. Paragraphs are chosen (all, or the gold ones and drawn distractors) and put in order.
2. Each is written as "Title: sentences"; where a supporting sentence falls is noted while the text
   is put together, so that a sentence that stands twice is never mistaken.
3. The context is cut to its length in tokens; a fact that the cut touches makes it invalid.
4. Instruction and question follow the context, as in the needle prompt.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from retrieval_lens.tasks.example import LAYOUT, RetrievalExample
from retrieval_lens.tasks.multihop_readers import Question
from retrieval_lens.tasks.needle import SYSTEM
from retrieval_lens.tasks.qa_metrics import CLOSED, holds_answer, normalize_answer
from retrieval_lens.tasks.token_spans import Span, find_span, tokenize

INSTRUCTION = (
    "Answer from the context alone, with a name, a date, a phrase, yes or no. Give the answer only."
)
ORDERS = ("given", "shuffled", "facts_first", "facts_middle", "facts_last")
GAP = "\n\n"


class Unusable(Exception):  # noqa: N818
    """A question that gives no valid example; the text says why."""


@dataclass(frozen=True)
class Layout:
    """How the prompts of a set are made; see `hotpotqa.load`."""

    dataset: str
    n_paragraphs: int | None = None
    order: str = "given"
    seed: int = 0
    chat: bool = False
    max_tokens: int | None = None
    prepend_bos: bool | None = None


@dataclass(frozen=True)
class Context:
    """Paragraphs as one text; spans are characters of it.

    Attributes:
        text: Documents joined by a blank line.
        documents: Span of each paragraph.
        facts: Span of each supporting sentence.
        gold: Indices of the documents that hold a fact.
        titles: One a document.
        n_tokens: Length of the text.
    """

    text: str
    documents: tuple[Span, ...]
    facts: tuple[Span, ...]
    gold: tuple[int, ...]
    titles: tuple[str, ...]
    n_tokens: int


def build_example(tokenizer: Any, question: Question, layout: Layout) -> RetrievalExample:
    """The example of one question.

    Raises:
        Unusable: The question has a defect, or what is asked for cannot hold its facts.
    """
    if question.defect:
        raise Unusable(question.defect)
    context = write_context(tokenizer, question, layout)
    before = "Context:\n" if layout.chat else f"{SYSTEM}\n\nContext:\n"
    lead = f"{before}{context.text}\n\nQuestion:\n"
    tail = "" if layout.chat else "\nAnswer:"
    facts = [(start + len(before), end + len(before)) for start, end in context.facts]
    prompt = f"{lead}{question.question}\nInstruction:\n{INSTRUCTION}{tail}"
    example = RetrievalExample.from_text(
        tokenizer,
        prompt,
        facts,
        answer=question.answer,
        question=question.question,
        context=context.text,
        documents=[context.text[start:end] for start, end in context.documents],
        id=_id(question, layout),
        chat=layout.chat,
        system=SYSTEM if layout.chat else None,
        prepend_bos=layout.prepend_bos,
        meta=_meta(question, layout, context),
    )
    # the template moves everything by as much as the first fact
    shift = example.evidence_spans[0][0] - find_span(prompt, facts[0])[0]
    first = len(before) + shift
    places = {
        "document_spans": [[start + first, end + first] for start, end in context.documents],
        "query_start": len(lead) + shift,
    }
    return replace(example, meta={**example.meta, **places})


def write_context(tokenizer: Any, question: Question, layout: Layout) -> Context:
    """The chosen paragraphs as text, cut to `layout.max_tokens`.

    Raises:
        Unusable: Too few paragraphs, too many gold ones, a gold one that stands twice, or a fact
            that is cut.
    """
    chosen = _ordered(question, layout)
    text, documents, facts = "", [], []
    for index in chosen:
        title, sentences = question.paragraphs[index]
        text += GAP if documents else ""
        begin = len(text)
        text += f"{title}: "
        for number, sentence in enumerate(sentences):
            if (index, number) in question.facts:
                facts.append((len(text), len(text) + len(sentence)))
            text += sentence
        documents.append((begin, len(text)))
    facts = [find_span(text, span) for span in facts]
    offsets = tokenize(tokenizer, text)[1]
    n_tokens = len(offsets)
    if layout.max_tokens is not None and layout.max_tokens < n_tokens:
        n_tokens = layout.max_tokens
        end = offsets[n_tokens - 1][1]
        if lost := sum(span[1] > end for span in facts):
            raise Unusable(f"max_tokens={n_tokens} cuts {lost} of {len(facts)} facts off")
        text = text[:end]
        documents = [(start, min(stop, end)) for start, stop in documents if start < end]
    kept = chosen[: len(documents)]
    gold = {paragraph for paragraph, _ in question.facts}
    return Context(
        text,
        tuple(documents),
        tuple(facts),
        tuple(place for place, index in enumerate(kept) if index in gold),
        tuple(question.paragraphs[index][0] for index in kept),
        n_tokens,
    )


def _ordered(question: Question, layout: Layout) -> list[int]:
    """Indices of the paragraphs to show, in their order."""
    gold = sorted({paragraph for paragraph, _ in question.facts})
    others = [index for index in range(len(question.paragraphs)) if index not in gold]
    for index in gold:
        if question.paragraphs.count(question.paragraphs[index]) > 1:
            raise Unusable(f"the paragraph {question.paragraphs[index][0]!r} holds a fact twice")
    # of the question's own, so that it does not depend on the other questions
    random = Random(f"{layout.seed} {question.id}")
    wanted = layout.n_paragraphs
    if wanted is not None:
        if wanted < len(gold):
            raise Unusable(f"n_paragraphs={wanted} cuts off some of {len(gold)} gold paragraphs")
        if wanted > len(question.paragraphs):
            raise Unusable(
                f"n_paragraphs={wanted}, but it has {len(question.paragraphs)} paragraphs"
            )
        others = sorted(random.sample(others, wanted - len(gold)))
    if layout.order == "shuffled":
        both = gold + others
        random.shuffle(both)
        return both
    if layout.order == "given":
        return sorted(gold + others)
    before = {"facts_first": 0, "facts_middle": len(others) // 2, "facts_last": len(others)}
    cut = before[layout.order]
    return others[:cut] + gold + others[cut:]


def _meta(question: Question, layout: Layout, context: Context) -> dict[str, Any]:
    facts = " ".join(context.text[start:end] for start, end in context.facts)
    closed = normalize_answer(question.answer) in CLOSED
    middles = [(start + end) / 2 / len(context.text) for start, end in context.facts]
    return {
        "task": "multihop",
        "dataset": layout.dataset,
        "question_id": question.id,
        "type": question.type,
        "level": question.level,
        "seed": layout.seed,
        "order": layout.order,
        "n_paragraphs": len(context.documents),
        "max_tokens": layout.max_tokens,
        "n_tokens": context.n_tokens,
        "depth": sum(middles) / len(middles),
        "n_facts": len(context.facts),
        "gold_titles": [context.titles[place] for place in context.gold],
        "gold_documents": list(context.gold),
        "answer_in_facts": None if closed else holds_answer(facts, question.answer),
        **question.extra,
    }


def _id(question: Question, layout: Layout) -> str:
    """The question's, and behind an @ every choice that changes its prompt."""
    parts: list[str] = []
    parts += [] if layout.order == "given" else [layout.order]
    parts += [] if layout.n_paragraphs is None else [f"{layout.n_paragraphs}paragraphs"]
    drawn = layout.order == "shuffled" or layout.n_paragraphs is not None
    parts += [f"seed{layout.seed}"] if drawn else []
    parts += [] if layout.max_tokens is None else [f"{layout.max_tokens}tokens"]
    parts += [] if layout.chat else ["plain"]
    name = f"{layout.dataset}-{question.id}"
    return name + LAYOUT + "-".join(parts) if parts else name
