"""Every choice of the Dynamic RAG loop that is not the strategy's; the paper leaves them open."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.rag.checks import whole
from retrieval_lens.rag.rind import RIND
from retrieval_lens.rag.windows import CENTRES
from retrieval_lens.tasks.example import without_layout

REMASK = ("after_clean_draft", "always")
KEEP = ("sentences", "nothing")
CHOICES: dict[str, tuple[str, ...]] = {"remask": REMASK, "keep": KEEP, "centre": CENTRES}
SENTENCES = ("draft_sentences", "rewrite_sentences")  # None leaves them to `draft_tokens`
WHOLE = {  # the least of each
    "draft_tokens": 1,
    "draft_sentences": 1,
    "rewrite_sentences": 1,
    "max_tokens": 1,
    "n_positions": 1,
    "gap": 0,
    "radius": 0,
}
STOP_TEXT = r"(?i)\bthe answer is\b[^\n]*?[^\s.!?][^\n]*?[.!?](?:\s|$)"


@dataclass(frozen=True)
class Settings:
    r"""How an answer is written.

    Attributes:
        rind: How a draft is judged.
        draft_tokens: At most so many tokens of a draft, and of a rewrite.
        draft_sentences: Most sentences of a draft; None leaves it to `draft_tokens`.
        rewrite_sentences: Most sentences of a rewrite, in the same way.
        keep: What a hit keeps of the draft: the `sentences` before it, or `nothing`, as Algorithm 1
            is printed.
        max_tokens: At most so many tokens of the whole answer.
        n_positions: Most attended positions that are taken.
        gap: Largest distance, in tokens, of positions in one cluster.
        centre: Which position stands for a cluster: that of the `largest` weight, the `first`, or
            the `middle` one.
        radius: Tokens shown on either side of it.
        remask: When shown context is hidden again: `after_clean_draft`, as Algorithm 1 is printed,
            so that the draft behind a rewrite still sees the windows; or `always`, after a rewrite
            too.
        stop_text: Regular expression that ends the answer where it is found; None never does.
        calibrated_on: Examples that the threshold was chosen on.
        allow_overlap: Whether to answer those nonetheless.

    Raises:
        InputError: A number out of range, or no regular expression.
        UnknownNameError: No such `remask`, `keep` or `centre`.

    Examples:
        >>> Settings(n_positions=5).radius
        32
    """

    rind: Any = RIND()
    draft_tokens: Any = 64
    draft_sentences: Any = 1
    rewrite_sentences: Any = 1
    keep: Any = "sentences"
    max_tokens: Any = 256
    n_positions: Any = 10
    gap: Any = 8
    centre: Any = "largest"
    radius: Any = 32
    remask: Any = "after_clean_draft"
    stop_text: Any = STOP_TEXT
    calibrated_on: Any = ()
    allow_overlap: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.rind, RIND):
            raise InputError(f"rind is a RIND(threshold=…); got {self.rind!r}")
        for name, least in WHOLE.items():
            if getattr(self, name) is not None or name not in SENTENCES:
                object.__setattr__(self, name, whole(name, getattr(self, name), least))
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UnknownNameError(
                    f"no {name} {getattr(self, name)!r}; known: {', '.join(known)}"
                )
        if self.stop_text is not None:
            try:
                re.compile(self.stop_text)
            except (re.error, TypeError) as error:
                raise InputError(
                    f"stop_text is a regular expression or None; got {self.stop_text!r}: {error}"
                ) from error
        if isinstance(self.calibrated_on, str):  # its characters would match no example
            raise InputError(f"calibrated_on is a list of ids, not {self.calibrated_on!r}")
        object.__setattr__(self, "calibrated_on", tuple(self.calibrated_on))

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        lists = {"rind": self.rind.as_json(), "calibrated_on": list(self.calibrated_on)}
        return asdict(self) | lists

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Settings":
        """The settings of `as_json`.

        Raises:
            InputError: Other fields.
        """
        try:
            return cls(**{**content, "rind": RIND(**content["rind"])})
        except (KeyError, TypeError) as error:
            raise InputError(f"these are no settings: {error!r}") from error

    def require_unseen(self, example_id: str) -> None:
        """Refuse an example that the threshold was chosen on, in whatever layout.

        Raises:
            InputError: It is one, and `allow_overlap` is False.
        """
        known = set(map(without_layout, self.calibrated_on))
        if without_layout(example_id) in known and not self.allow_overlap:
            raise InputError(
                f"the threshold was chosen on example {example_id!r}, so it must not be judged on "
                f"it; take other examples, or pass allow_overlap=True"
            )
