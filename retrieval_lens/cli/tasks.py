"""What `trace`, `detect` and `collect` run on: needles, or multi-hop questions.

1. The options of a task stand in a help panel of its own, and are None unless they were given.
2. Those given for another task are refused, so that none is silently ignored; for the task at hand
   the others get their defaults.
3. A file of questions is read before a model is loaded; then each combination of number of
   paragraphs, order and seed becomes a prompt of each question.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import chain, product
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval_lens.cli import options
from retrieval_lens.errors import InputError

if TYPE_CHECKING:
    from retrieval_lens.tasks import Questions

NEEDLE, QUESTIONS, TEXT = "Needle", "Questions", "A text of yours"
ALL = "all"
WHICH = "Which, counted from 0 in the order of the file: 0,1,5 or 0-4."
DEFAULTS: Mapping[str, Any] = {
    "seed": 0,
    "haystack": "mixed",
    "needle": "magic_word",
    "source": "own",
    "n_paragraphs": "4",
    "orders": "given",
}


class Task(StrEnum):
    """What the prompts are."""

    needle = "needle"
    questions = "questions"


class WrongOption(InputError):  # noqa: N818
    """An option that has no meaning beside the others."""

    exit_code = 2


def option(panel: str | None, help: str, default: Any = None) -> Any:
    """An option that is None unless given; the help tells the default that it will get."""
    shown = False if default is None else str(default)
    return typer.Option(help=help, show_default=shown, rich_help_panel=panel)


TaskName = Annotated[
    Task, typer.Option(help="What the prompts are: needles in haystacks, or multi-hop questions.")
]
Seed = Annotated[
    int | None,
    option(None, "Draws the answer in the needle, or distractors and the order.", DEFAULTS["seed"]),
]
Haystack = Annotated[
    str | None,
    option(
        NEEDLE,
        "mixed, letters, workshop, coast, essays, a text file, or a folder.",
        DEFAULTS["haystack"],
    ),
]
Needle = Annotated[
    str | None,
    option(NEEDLE, "magic_word (a UUID), ticket_number or boat_name.", DEFAULTS["needle"]),
]
Source = Annotated[
    str | None, option(QUESTIONS, "own (the set that ships), or a file.", DEFAULTS["source"])
]
Reader = Annotated[
    str | None,
    option(QUESTIONS, "Format of the file: hotpotqa, 2wikimultihopqa or musique.", "hotpotqa"),
]
Paragraphs = Annotated[
    str | None,
    option(
        QUESTIONS,
        "Paragraphs of a context, the gold ones among them: 4,10 or all.",
        DEFAULTS["n_paragraphs"],
    ),
]
Orders = Annotated[
    str | None,
    option(
        QUESTIONS,
        "Of the paragraphs: given,shuffled,facts_first,facts_middle,facts_last.",
        DEFAULTS["orders"],
    ),
]
MaxTokens = Annotated[
    int | None, option(QUESTIONS, "Cut the context to so many tokens; by default it is whole.")
]


@dataclass(frozen=True)
class Group:
    """Options of one task.

    Attributes:
        values: By parameter, with defaults.
        given: The options that were given, as they are spelled.
    """

    values: Mapping[str, Any]
    given: tuple[str, ...]


def group(defaults: Mapping[str, Any], **given: Any) -> Group:
    """Options of one task, with `defaults` before `DEFAULTS` where they were not given.

    Examples:
        >>> found = group({"n_tokens": 100}, n_tokens=None, needle="boat_name")
        >>> dict(found.values), found.given
        ({'n_tokens': 100, 'needle': 'boat_name'}, ('--needle',))
    """
    filled = {**DEFAULTS, **defaults}
    named = [name for name, value in given.items() if value is not None and value != []]
    values = {name: given[name] if name in named else filled.get(name) for name in given}
    return Group(values, tuple(f"--{name.replace('_', '-')}" for name in named))


def refuse(beside: str, *groups: Group) -> None:
    """Refuse options that mean nothing beside another one.

    Raises:
        WrongOption: At least one of them was given.
    """
    found = [name for one in groups for name in one.given]
    if found:
        raise WrongOption(
            f"{', '.join(found)} cannot go with {beside}; --help shows what belongs together"
        )


def refuse_other(task: Task, needle: Group, questions: Group) -> None:
    """`refuse` for the task that was not chosen."""
    refuse(f"--task {task.value}", questions if task is Task.needle else needle)


def paragraphs(text: str) -> list[int | None]:
    """Numbers of paragraphs of `4,10` or `all`, which is None.

    Raises:
        InputError: Something else.

    Examples:
        >>> paragraphs("4, all")
        [4, None]
    """
    found: list[int | None] = []
    for part in options.names(text) or ():
        found += [None] if part == ALL else options.integers("--n-paragraphs", part) or ()
    return found


def questions(
    *,
    source: str,
    reader: str | None,
    questions: str,
    n_paragraphs: str,
    orders: str,
    seeds: Sequence[int],
    **more: Any,
) -> "Callable[[Any], Questions]":
    """From a tokenizer to the prompts: every combination of layout, each with every question.

    Args:
        source: `own`, or a file; it is read now, before a model is loaded.
        reader: Its format; None is HotpotQA's.
        questions: Which, such as `0-4`, counted from 0.
        n_paragraphs: `4,10` or `all`.
        orders: Of the paragraphs, such as `given,shuffled`.
        seeds: Of distractors and orders.
        **more: Of `hotpotqa.load`.

    Raises:
        WrongOption: A format for the set that ships.
        InputError: A question that is not there, or named twice; nothing to combine. From the
            function returned: a combination in which no question can be used.
        FileNotFoundError: There is no such file.
        FileFormatError: Not a file of that format.
        UnknownNameError: No such format.
    """
    from retrieval_lens.tasks import hotpotqa

    own = source == hotpotqa.OWN
    if own and reader is not None:
        raise WrongOption(f"--reader cannot go with --source {source}; it is the format of a file")
    reader = reader or hotpotqa.HOTPOTQA.name
    numbers = options.integers("--questions", questions) or []
    layouts = list(product(paragraphs(n_paragraphs), options.names(orders) or (), seeds))
    if not numbers or not layouts:
        raise InputError("questions, paragraphs, orders and seeds each need at least one value")
    if len(set(numbers)) < len(numbers):
        raise InputError(f"--questions names one twice: {questions}")
    found = hotpotqa.read(source, reader)
    if max(numbers) >= len(found):
        raise InputError(
            f"there is no question {max(numbers)} in {source!r}: it has {len(found)}, counted "
            f"from 0"
        )
    chosen = [found[number] for number in numbers]
    load = partial(hotpotqa.load, chosen, dataset=hotpotqa.OWN if own else reader, **more)
    return partial(_prompts, load, layouts)


def _prompts(
    load: "Callable[..., Questions]",
    layouts: Sequence[tuple[int | None, str, int]],
    tokenizer: Any,
) -> "Questions":
    """All layouts, one after the other, with what was dropped in any of them."""
    from retrieval_lens.tasks import Questions

    found = []
    for n, order, seed in layouts:
        try:
            found.append(load(tokenizer, n_paragraphs=n, order=order, seed=seed))
        except InputError as error:
            place = f"{ALL if n is None else n} paragraphs, order {order}, seed {seed}"
            raise InputError(f"{place}: {error}") from error
    return Questions(chain(*found), chain.from_iterable(one.dropped for one in found))
