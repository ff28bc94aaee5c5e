"""Files of multi-hop questions, each format read into the same `Question`.

1. A file is parsed: one JSON list, or JSON lines.
2. A reader of that format turns its records into questions. What the format requires and a record
   lacks is a `FileFormatError` with the record's id and the field.
3. What is well-formed but cannot be used (a fact that is not there) is a question with a `defect`;
   whoever loads it drops it and says why.

The known formats stand in `multihop_formats`. One of your own is a function that turns a record
into a `Question`, and `register_reader`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval_lens.errors import FileFormatError, InputError, UnknownNameError


@dataclass(frozen=True)
class Question:
    """A question over several paragraphs, whatever file it came from.

    Attributes:
        id: Of the question in its file.
        question: What is asked.
        answer: The right answer.
        paragraphs: `(title, sentences)` each; the sentences joined without a gap are its text.
        facts: `(paragraph, sentence)` indices of the supporting sentences.
        type: Such as `bridge` or `comparison`.
        level: Of difficulty, "" where the file has none.
        extra: Anything else worth keeping, JSON-able.
        defect: Why it cannot be used, "" if it can.
    """

    id: str
    question: str
    answer: str
    paragraphs: tuple[tuple[str, tuple[str, ...]], ...]
    facts: tuple[tuple[int, int], ...]
    type: str = ""
    level: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    defect: str = ""


@dataclass(frozen=True)
class Reader:
    """A file format: its name, whether it is JSON lines, and what makes a record a question."""

    name: str
    question: Callable[[Mapping[str, Any], str], Question]
    lines: bool = False


READERS: dict[str, Reader] = {}


def register_reader(new: Reader) -> None:
    """Make `new` available by its name.

    Raises:
        InputError: The name is taken.
    """
    if new.name in READERS:
        raise InputError(f"a reader {new.name!r} is already registered")
    READERS[new.name] = new


def read_questions(source: Any, reader: Any) -> Iterator[Question]:
    """The questions of a file, or of records that are already in memory.

    Args:
        source: A path, or an iterable of records (a `datasets.Dataset`, a list of dicts).
        reader: Name of the format.

    Raises:
        UnknownNameError: No reader of that name.
        FileNotFoundError: There is no such file.
        FileFormatError: Not the reader's format, or a record that lacks a field.

    Examples:
        >>> fact = {"context": [["Orr", ["Orr is a town."]]], "supporting_facts": [["Orr", 0]]}
        >>> record = {"_id": "1", "question": "What is Orr?", "answer": "a town", **fact}
        >>> next(read_questions([record], "hotpotqa")).facts
        ((0, 0),)
    """
    if not isinstance(reader, str) or reader not in READERS:
        raise UnknownNameError(f"no reader {reader!r}; known: {', '.join(sorted(READERS))}")
    found = READERS[reader]
    named = isinstance(source, str | Path)
    records = _parsed(Path(source), found) if named else source
    if not isinstance(records, Iterable) or isinstance(records, Mapping | bytes):
        raise InputError(f"wanted a path or records, one dict a question; got {type(source)}")
    return _questions(records, found, f"{source}" if named else "the records")


def _questions(records: Iterable[Any], reader: Reader, name: str) -> Iterator[Question]:
    for index, record in enumerate(records):
        where = f"record {index} of {name}"
        if not isinstance(record, Mapping):
            raise FileFormatError(f"{where} is a {type(record).__name__}, wanted a question (dict)")
        yield reader.question(record, where)


def _parsed(path: Path, reader: Reader) -> list[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        text = path.read_text("utf-8-sig")
        if reader.lines:
            # a text may hold U+2028, at which splitlines would break
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON lines" if reader.lines else "JSON"
        raise FileFormatError(f"{path} is not {kind}: {error}") from error
    if not isinstance(content, list):
        raise FileFormatError(
            f"{path} holds one {type(content).__name__}; a {reader.name} file is a "
            f"list of questions"
        )
    return content


def required(record: Mapping[str, Any], names: tuple[str, ...], kind: type, where: str) -> Any:
    """The first field of `names` that `record` has, checked to be a `kind` that is not empty.

    Raises:
        FileFormatError: None of them is there, of another type, or empty.
    """
    name = next((name for name in names if name in record), None)
    if name is None:
        raise FileFormatError(
            f"{where} has no field {names[0]!r}; it has {', '.join(map(str, record)) or 'none'}"
        )
    value = record[name]
    if not isinstance(value, kind):
        raise FileFormatError(
            f"{where}: the field {name!r} is a {type(value).__name__}, wanted a {kind.__name__}"
        )
    if not value or (isinstance(value, str) and not value.strip()):
        raise FileFormatError(f"{where}: the field {name!r} is empty")
    return value
