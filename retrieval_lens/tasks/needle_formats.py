"""What the needle says and what is asked: the paper's UUID, and two others for robustness.

A format is a sentence with `{answer}` in it, a question, and a way to draw an answer that no model
can have seen: register one of your own with `register_needle_format`.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from retrieval_lens.errors import InputError, UnknownNameError


@dataclass(frozen=True)
class NeedleFormat:
    """A needle sentence holding `{answer}`, its question, and how an answer is drawn."""

    name: str
    sentence: str
    question: str
    draw: Callable[[Random], str]

    def __post_init__(self) -> None:
        if self.sentence.count("{answer}") != 1:
            raise InputError(f"the needle {self.sentence!r} must hold {{answer}} exactly once")


def _draw_uuid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _draw_number(random: Random) -> str:
    return str(random.randrange(10**8, 10**9))


_ADJECTIVES = ["amber", "copper", "crimson", "frozen", "golden", "hidden", "ivory", "lunar"]
_NOUNS = ["anchor", "badger", "candle", "dragon", "falcon", "glacier", "harbor", "lantern", "otter"]


def _draw_words(random: Random) -> str:
    return " ".join(random.choice(words) for words in (_ADJECTIVES, _NOUNS, _NOUNS))


NEEDLE_FORMATS: dict[str, NeedleFormat] = {}


def register_needle_format(new: NeedleFormat) -> None:
    """Make `new` available by its name.

    Raises:
        InputError: The name is taken.
    """
    if new.name in NEEDLE_FORMATS:
        raise InputError(f"a needle format {new.name!r} is already registered")
    NEEDLE_FORMATS[new.name] = new


def needle_format(name: str) -> NeedleFormat:
    """The registered format of that name.

    Raises:
        UnknownNameError: None is registered under it.

    Examples:
        >>> needle_format("magic_word").question
        'What is the magic word?'
    """
    if name not in NEEDLE_FORMATS:
        raise UnknownNameError(
            f"no needle format {name!r}; known: {', '.join(sorted(NEEDLE_FORMATS))}"
        )
    return NEEDLE_FORMATS[name]


register_needle_format(
    NeedleFormat("magic_word", "The magic word is {answer}.", "What is the magic word?", _draw_uuid)
)
register_needle_format(
    NeedleFormat(
        "ticket_number",
        "The number on the lost ticket was {answer}.",
        "What was the number on the lost ticket?",
        _draw_number,
    )
)
register_needle_format(
    NeedleFormat(
        "boat_name",
        'The old boat was called "{answer}".',
        "What was the old boat called?",
        _draw_words,
    )
)
