"""The file formats of multi-hop questions that are known.

| reader | file |
|---|---|
| `hotpotqa` | HotpotQA, distractor setting (arXiv 1809.09600): official JSON, or the Hub's rows |
| `2wikimultihopqa` | 2WikiMultihopQA (arXiv 2011.01060): the same fields and `evidences` |
| `musique` | MuSiQue (arXiv 2108.00573): JSON lines, support by paragraph |

1. HotpotQA's sentences bring the white space between them along; 2WikiMultihopQA's do not, and get
   a space.
2. A fact whose paragraph or sentence is not there, or whose title stands twice, is a defect.
3. MuSiQue says which paragraphs support the answer, not which sentences: all of each is evidence.
"""

from collections.abc import Mapping
from typing import Any

from retrieval_lens.errors import FileFormatError
from retrieval_lens.tasks.multihop_readers import Question, Reader, register_reader, required

Paragraphs = tuple[tuple[str, tuple[str, ...]], ...]
# the Hub keeps a table as columns
HUB_COLUMNS = {"context": ("title", "sentences"), "supporting_facts": ("title", "sent_id")}


def hotpotqa_question(record: Mapping[str, Any], where: str) -> Question:
    """A record of HotpotQA, in the official file's schema or in the Hub's columns."""
    record, where = _named(record, where)
    for name, columns in HUB_COLUMNS.items():
        if isinstance(record.get(name), Mapping):
            record[name] = _rows(record[name], columns, f"{where}: {name}")
    context = required(record, ("context",), list, where)
    paragraphs = tuple(_paragraph(entry, where) for entry in context)
    named = required(record, ("supporting_facts",), list, where)
    facts, defect = _facts(paragraphs, [_pair(entry, where) for entry in named])
    return _question(record, where, paragraphs, facts, defect)


def _rows(table: Mapping[str, Any], columns: tuple[str, str], where: str) -> list[list[Any]]:
    one, two = (required(table, (column,), list, where) for column in columns)
    if len(one) != len(two):
        raise FileFormatError(f"{where} has columns of {len(one)} and {len(two)} entries")
    return [list(pair) for pair in zip(one, two, strict=True)]


def wiki_question(record: Mapping[str, Any], where: str) -> Question:
    """A record of 2WikiMultihopQA: sentences without the white space between them."""
    found = hotpotqa_question(record, where)
    paragraphs = tuple(
        (title, (sentences[0], *(f" {sentence.strip()}" for sentence in sentences[1:])))
        for title, sentences in found.paragraphs
    )
    extra = {"evidences": record.get("evidences", [])}
    return Question(**{**vars(found), "paragraphs": paragraphs, "extra": extra})


def musique_question(record: Mapping[str, Any], where: str) -> Question:
    """A record of MuSiQue: all of a supporting paragraph is evidence."""
    record, where = _named(record, where)
    entries = required(record, ("paragraphs",), list, where)
    paragraphs, facts = [], []
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise FileFormatError(f"{where}: paragraph {index} is not a dict")
        of = f"{where}, paragraph {index}"
        text = required(entry, ("paragraph_text",), str, of)
        paragraphs.append((required(entry, ("title",), str, of), (text,)))
        if "is_supporting" not in entry:
            raise FileFormatError(f"{of} has no field 'is_supporting'")
        facts += [(index, 0)] if _flag(entry, "is_supporting", of) else []
    defect = "" if facts else "no paragraph supports the answer"
    if "answerable" in record and not _flag(record, "answerable", where):
        defect = "the file marks it as not answerable"
    hops = len(facts)
    extra = {"answer_aliases": _aliases(record, where)}
    record = {"type": f"{hops}hop", **record}
    return _question(record, where, tuple(paragraphs), tuple(facts), defect, extra)


def _flag(record: Mapping[str, Any], name: str, where: str) -> bool:
    if not isinstance(record[name], bool):
        raise FileFormatError(f"{where}: the field {name!r} is true or false; got {record[name]!r}")
    return record[name]


def _aliases(record: Mapping[str, Any], where: str) -> list[str]:
    found = record.get("answer_aliases")
    if found is None:
        return []
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise FileFormatError(
            f"{where}: the field 'answer_aliases' is a list of texts; got {found!r:.80}"
        )
    # an empty one would make an empty response right
    return [one for one in found if one.strip()]


def _named(record: Mapping[str, Any], where: str) -> tuple[dict[str, Any], str]:
    """A copy of the record, and where it stands with its id."""
    found = required(record, ("_id", "id"), str, where)
    return {**record, "_id": found}, f"question {found!r} ({where})"


def _question(
    record: Mapping[str, Any],
    where: str,
    paragraphs: Paragraphs,
    facts: tuple[tuple[int, int], ...],
    defect: str,
    extra: Mapping[str, Any] | None = None,
) -> Question:
    return Question(
        id=record["_id"],
        question=required(record, ("question",), str, where).strip(),
        answer=required(record, ("answer",), str, where).strip(),
        paragraphs=paragraphs,
        facts=facts,
        type=str(record.get("type", "")),
        level=str(record.get("level", "")),
        extra=extra or {},
        defect=defect,
    )


def _pair(entry: Any, where: str) -> tuple[str, int]:
    if isinstance(entry, list | tuple) and len(entry) == 2:
        title, index = entry
        if isinstance(title, str) and isinstance(index, int) and not isinstance(index, bool):
            return title, index
    raise FileFormatError(f"{where}: a supporting fact is [title, sentence index]; got {entry!r}")


def _paragraph(entry: Any, where: str) -> tuple[str, tuple[str, ...]]:
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        raise FileFormatError(f"{where}: a paragraph is [title, sentences]; got {entry!r:.80}")
    title, sentences = entry
    whole = isinstance(title, str) and isinstance(sentences, list | tuple)
    if not whole or not all(isinstance(sentence, str) for sentence in sentences):
        raise FileFormatError(f"{where}: a paragraph is [title, [sentence, …]]; got {entry!r:.80}")
    if not title.strip() or not "".join(sentences).strip():
        raise FileFormatError(
            f"{where}: the field 'context' has an empty paragraph, titled {title!r}; take it out"
        )
    return title, tuple(sentences)


def _facts(
    paragraphs: Paragraphs, named: list[tuple[str, int]]
) -> tuple[tuple[tuple[int, int], ...], str]:
    """Paragraph and sentence indices of the facts, and what is wrong with them."""
    facts: list[tuple[int, int]] = []
    for title, sentence in dict.fromkeys(named):
        places = [index for index, (other, _) in enumerate(paragraphs) if other == title]
        if not places:
            return (), f"a fact names the paragraph {title!r}, which is not there"
        if len(places) > 1:
            return (), f"a fact names the paragraph {title!r}, which is there {len(places)} times"
        sentences = paragraphs[places[0]][1]
        if not 0 <= sentence < len(sentences):
            return (), (
                f"a fact names sentence {sentence} of {title!r}, which has {len(sentences)} "
                f"sentences"
            )
        if not sentences[sentence].strip():
            return (), f"a fact names sentence {sentence} of {title!r}, which is empty"
        facts.append((places[0], sentence))
    return tuple(facts), ""


HOTPOTQA = Reader("hotpotqa", hotpotqa_question)
for _known in (
    HOTPOTQA,
    Reader("2wikimultihopqa", wiki_question),
    Reader("musique", musique_question, lines=True),
):
    register_reader(_known)
