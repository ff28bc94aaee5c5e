"""HotpotQA and its kin: questions whose answer needs facts from several paragraphs.

1. A file, the Hub, or the set of our own gives questions; see `multihop_formats`.
2. Each becomes a prompt of its paragraphs, an instruction and the question; see `multihop_prompt`.
3. Evidence is the supporting sentences, by the characters they were written to.
4. A question whose facts are not there, or are cut off, gives no example: it is dropped, and
   `Questions.dropped` says why.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any, SupportsIndex

from retrieval_lens.errors import InputError, InvalidExampleError, UnknownNameError
from retrieval_lens.tasks.example import RetrievalExample
from retrieval_lens.tasks.multihop_formats import HOTPOTQA
from retrieval_lens.tasks.multihop_prompt import ORDERS, Layout, Unusable, build_example
from retrieval_lens.tasks.multihop_readers import Question, read_questions

OWN = "own"
HUB = ("hotpotqa/hotpot_qa", "distractor")


@dataclass(frozen=True)
class Dropped:
    """A question that gave no example, and why."""

    id: str
    reason: str


class Questions(list[RetrievalExample]):
    """The examples of a set, and what was dropped on the way.

    Attributes:
        dropped: The questions that gave no example, in the order of the file.
    """

    def __init__(
        self, examples: Iterable[RetrievalExample] = (), dropped: Iterable[Dropped] = ()
    ) -> None:
        super().__init__(examples)
        self.dropped: tuple[Dropped, ...] = tuple(dropped)

    def summary(self) -> str:
        """One line: how many, of which types and lengths, and what was dropped.

        Examples:
            >>> Questions(dropped=[Dropped("a", "why"), Dropped("b", "why")]).summary()
            '0 questions; 2 dropped (2: why)'
        """
        types = Counter(str(one.meta["type"]) for one in self)
        text = f"{len(self)} questions"
        if self:
            lengths = [len(one.token_ids) for one in self]
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(types.items()))
            text += f" ({kinds}), prompts of {min(lengths)} to {max(lengths)} tokens"
        if outside := sum(one.meta["answer_in_facts"] is False for one in self):
            text += f"; {outside} with an answer that stands in no fact"
        if self.dropped:
            text += f"; {len(self.dropped)} dropped ({_reasons(self.dropped)})"
        return text


def load(
    source: Any,
    tokenizer: Any,
    *,
    n_paragraphs: SupportsIndex | None = None,
    order: Any = "given",
    seed: SupportsIndex = 0,
    chat: bool | None = None,
    max_tokens: SupportsIndex | None = None,
    limit: SupportsIndex | None = None,
    reader: Any = HOTPOTQA.name,
    prepend_bos: bool | None = None,
    dataset: str | None = None,
) -> Questions:
    """Multi-hop questions as examples; the same arguments give the same prompts, byte for byte.

    Args:
        source: A file, `"own"` for the set that ships, records in memory (dicts, or a
            `datasets.Dataset`), or questions that were read before.
        tokenizer: A transformers tokenizer that returns offsets, as `model.tokenizer`.
        n_paragraphs: Keep so many paragraphs, the gold ones and distractors drawn from the others;
            None keeps all.
        order: Of the paragraphs: `given`, `shuffled`, or the gold ones together: `facts_first`,
            `facts_middle`, `facts_last`.
        seed: Draws the distractors and shuffles, for each question on its own.
        chat: Use the chat template; None uses it where the tokenizer has one.
        max_tokens: Cut the context to so many tokens; question and template come on top.
        limit: Stop after so many examples.
        reader: Format of the file: `hotpotqa`, `2wikimultihopqa`, `musique`, or a registered one.
        prepend_bos: As in `RetrievalExample.from_text`.
        dataset: Name of the set in ids and `meta`; None is `own`, or the reader's name.

    Returns:
        The examples. `meta` records every choice, and `depth` (mean place of the facts' middles in
        the context, 0 to 1), `n_tokens` (of the context), `gold_documents` (indices into
        `documents`), `answer_in_facts` (None for yes and no); `document_spans` and `query_start`
        are characters of `prompt`.

    Raises:
        FileNotFoundError: There is no such file.
        FileFormatError: Not a file of that format; a record without a field, or with an empty one.
        UnknownNameError: Unknown reader or order.
        InputError: A number out of range, or two questions of one id.
        InvalidExampleError: Every question was dropped.
        ChatTemplateError: `chat=True` without a usable template.

    Examples:
        ```python
        questions = rl.tasks.hotpotqa.load("own", model.tokenizer, n_paragraphs=4, limit=3)
        questions.summary()
        ```
    """
    limit = _at_least_one("limit", limit)
    if not isinstance(order, str) or order not in ORDERS:
        raise UnknownNameError(f"no order {order!r}; known: {', '.join(ORDERS)}")
    if chat is None:
        chat = bool(getattr(tokenizer, "chat_template", None))
    layout = Layout(
        dataset=dataset or (OWN if isinstance(source, str) and source == OWN else str(reader)),
        n_paragraphs=_at_least_one("n_paragraphs", n_paragraphs),
        order=order,
        seed=int(seed),
        chat=chat,
        max_tokens=_at_least_one("max_tokens", max_tokens),
        prepend_bos=prepend_bos,
    )
    found = _build(tokenizer, read(source, reader), layout, limit)
    if not found:
        if len(found.dropped) == 1:
            only = found.dropped[0]
            raise InvalidExampleError(f"question {only.id!r} cannot be used: {only.reason}")
        raise InvalidExampleError(f"no question can be used: {found.summary()}")
    return found


def own(tokenizer: Any, **options: Any) -> Questions:
    """The set that ships: invented people and places, bridge and comparison questions.

    Args:
        tokenizer: As in `load`.
        **options: Of `load`.

    Examples:
        ```python
        question = rl.tasks.hotpotqa.own(model.tokenizer, limit=1)[0]
        ```
    """
    return load(OWN, tokenizer, **options)


def load_hub(tokenizer: Any, split: str = "validation", **options: Any) -> Questions:
    """HotpotQA's distractor setting from the Hugging Face Hub, through `datasets`.

    Args:
        tokenizer: As in `load`.
        split: `validation` or `train`.
        **options: Of `load`.

    Raises:
        InputError: The Hub cannot be reached, or has no such split.
    """
    import datasets

    try:
        rows = datasets.load_dataset(*HUB, split=split)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot load {HUB[0]!r}, split {split!r}: {error}. Download the official file and "
            f"pass its path to load()"
        ) from error
    return load(rows, tokenizer, **options)


def read(source: Any, reader: Any = HOTPOTQA.name) -> list[Question]:
    """Questions before they are prompts; arguments and errors as in `load`."""
    if isinstance(source, str) and source == OWN:
        with as_file(files("retrieval_lens.tasks") / "multihop" / "questions.json") as path:
            return _distinct(read_questions(path, HOTPOTQA.name))
    if isinstance(source, Sequence) and source and isinstance(source[0], Question):
        return _distinct(source)
    return _distinct(read_questions(source, reader))


def _build(
    tokenizer: Any, questions: Iterable[Question], layout: Layout, limit: int | None
) -> Questions:
    examples: list[RetrievalExample] = []
    dropped: list[Dropped] = []
    for question in questions:
        if len(examples) == limit:
            break
        try:
            examples.append(build_example(tokenizer, question, layout))
        except Unusable as reason:
            dropped.append(Dropped(question.id, str(reason)))
    return Questions(examples, dropped)


def _distinct(questions: Iterable[Question]) -> list[Question]:
    """All of them, none of whose ids may repeat: results are told apart by it."""
    found = list(questions)
    repeated = [name for name, n in Counter(one.id for one in found).items() if n > 1]
    if repeated:
        raise InputError(
            f"{len(repeated)} ids stand more than once, the first {repeated[0]!r}; each question "
            f"needs an id of its own"
        )
    return found


def _at_least_one(name: str, value: SupportsIndex | None) -> int | None:
    if value is None:
        return None
    if int(value) < 1:
        raise InputError(f"wanted {name} >= 1; got {int(value)}")
    return int(value)


def _reasons(dropped: Iterable[Dropped], most: int = 3) -> str:
    counted = Counter(one.reason for one in dropped).most_common()
    text = "; ".join(f"{count}: {reason}" for reason, count in counted[:most])
    return text + (f"; and {len(counted) - most} other reasons" if len(counted) > most else "")
