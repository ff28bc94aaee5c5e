"""Greedy decoding of a sequence of which only some positions are visible.

1. All but the last token of the sequence are taken in. A hidden position has no influence at all:
   no query of the prompt or of the response sees it. Every other token keeps the position that it
   has in the whole sequence.
2. Tokens are then run one by one, or several known ones at once; each is visible from then on.
3. How positions are hidden, by leaving tokens out or by a mask, is `VisibleRun`'s choice.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from operator import index
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing.decoding import greedy
from retrieval_lens.tracing.engine import choose_engine
from retrieval_lens.tracing.limits import check_context
from retrieval_lens.tracing.visible_run import Rows, VisibleRun, checked_sequence


@dataclass(frozen=True, eq=False)
class VisibleStep:
    """What one step leaves behind, on the CPU.

    Attributes:
        logits: `[vocab]`, of the token that follows.
        hidden: `{hook name: [d_model]}` of the token that was run.
        rows: `{layer: [head, key_pos]}`, its attention over the whole sequence so far, 0 at hidden
            positions; empty unless asked for.
    """

    logits: Float[Tensor, " vocab"]
    hidden: dict[str, Float[Tensor, " _"]]
    rows: Rows


@dataclass(frozen=True, eq=False)
class VisibleResponse:
    """Greedily decoded tokens, on the CPU; step t is the one that predicted token t.

    Attributes:
        tokens: `[step]`.
        logits: `[step, vocab]`.
        hidden: `{hook name: [step, d_model]}`.
        rows: For each step `{layer: [head, key_pos]}`; empty unless asked for.
    """

    tokens: Int[Tensor, " step"]
    logits: Float[Tensor, "step vocab"]
    hidden: dict[str, Float[Tensor, "step _"]]
    rows: tuple[Rows, ...]


class VisibleSession:
    """Runs sequences with hidden positions, one after the other; a context manager.

    A token that is known but was not run yet is *pending*: after `begin` the last prompt token,
    after `extend` and `generate` the last one of theirs. Running it predicts the next.

    Put hooks of yours on the bridge before you enter the session. What a sequence begins with
    together with the one before it, the same tokens visible, is not computed again.

    Args:
        model: A bridge.
        hidden_at: Hook names whose state is kept at each step.
        engine: `"fast"` runs the plain modules, `"hooks"` the bridge; `"auto"` takes the fast one
            where it is proven equal on this model and no hook of yours is on the bridge.

    Attributes:
        engine: The one that runs.
        engine_reason: Why.

    Raises:
        InputError: An unknown engine or hook name, or `"fast"` where it cannot be used.
        UnsupportedModelError: The model derives positions by itself (ALiBi and the like).

    Examples:
        ```python
        visible = torch.ones(len(example.token_ids), dtype=torch.bool)
        visible[20:100] = False
        with rl.tracing.VisibleSession(model) as session:
            session.begin(example.token_ids, visible, n_new=4)
            session.generate(4, stop=lambda tokens: False).tokens
        ```
    """

    def __init__(self, model: Any, hidden_at: Sequence[str] = (), engine: str = "auto"):
        self.model: Any = model
        self.hidden_at: tuple[str, ...] = tuple(hidden_at)
        self.engine: str
        self.engine_reason: str
        self.engine, self.engine_reason = choose_engine(model, engine, self.hidden_at)
        self.run: VisibleRun = VisibleRun(model, self.engine, self.hidden_at)
        self.stack: ExitStack = ExitStack()
        self.open: bool = False
        self.pending: int | None = None
        self.room: int = 0

    def __enter__(self) -> "VisibleSession":
        with ExitStack() as stack:
            self.run.attach(stack)
            self.stack = stack.pop_all()
        self.open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.open, self.pending, self.room = False, None, 0
        self.stack.close()

    def begin(self, token_ids: Any, visible: Any, n_new: Any) -> None:
        """Take in a sequence; its last token is then pending.

        Args:
            token_ids: `[pos]`, the whole sequence, hidden tokens included.
            visible: `[pos]`, bool; the last token must be visible, no other needs to be.
            n_new: At most so many tokens that will come behind it, at least 1.

        Raises:
            InputError: Something of another shape or type, a hidden last token, a token id outside
                the vocabulary, or hooks and weights that changed since the session was entered.
            ContextLengthError: The sequence and `n_new` tokens do not fit the model's context.
        """
        if not self.open:
            raise InputError("use the session in a with block: with VisibleSession(model) as s")
        token_ids, visible = checked_sequence(token_ids, visible)
        n_new = _whole(n_new, "n_new")
        example = RetrievalExample("of this session", "", token_ids, torch.tensor([0]), ())
        check_context(self.model, example, n_new)
        self.pending, self.room = None, 0
        self.run.begin(token_ids[:-1], visible[:-1], n_new + 1)
        self.pending, self.room = int(token_ids[-1]), n_new + 1

    def step(self, token: Any = None, rows: bool = False) -> VisibleStep:
        """Run one token.

        Args:
            token: Its id; where a token is pending, that one or None.
            rows: Whether its attention rows are wanted.

        Raises:
            InputError: No token, another one than is pending, an id outside the vocabulary, or
                more tokens than `begin` was told.
            NumericalError: NaN or infinite logits.
        """
        if token is None:
            self._require_pending()
            token = self.pending
        token = self._token(token)
        if self.pending not in (None, token):
            raise InputError(
                f"token {self.pending} is pending, not {token}; run it first by step(), or use "
                f"extend([{token}])"
            )
        output = self._feed([token])
        self.pending = None
        greedy(output.logits)
        hidden = {name: value[0].cpu() for name, value in output.hidden.items()}
        whole = self.run.whole_rows() if rows else {}
        return VisibleStep(output.logits[0].cpu(), hidden, whole)

    def extend(self, tokens: Iterable[Any]) -> None:
        """Add known tokens; all but the last run at once, and that one is pending.

        Args:
            tokens: Their ids; they come behind the pending token where there is one.

        Raises:
            InputError: No tokens, an id outside the vocabulary, or more than `begin` was told.
        """
        added = [self._token(token) for token in tokens]
        if not added:
            raise InputError("extend got no tokens; give at least one")
        known = added if self.pending is None else [self.pending, *added]
        self._require_room(len(known))
        if len(known) > 1:
            self._feed(known[:-1])
        self.pending = known[-1]

    def generate(
        self, max_new_tokens: int, stop: Callable[[list[int]], bool], rows: bool = False
    ) -> VisibleResponse:
        """Decode greedily from the pending token on; the last predicted one is then pending.

        Args:
            max_new_tokens: At most so many steps, at least 1.
            stop: Gets the tokens so far, the newest last; True ends the response behind it.
            rows: Whether attention rows are wanted.

        Raises:
            InputError: No token is pending, or more tokens than `begin` was told.
            NumericalError: NaN or infinite logits.
        """
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1; got {max_new_tokens}")
        self._require_pending()
        self._require_room(max_new_tokens)
        steps: list[VisibleStep] = []
        tokens: list[int] = []
        while len(tokens) < max_new_tokens and not (tokens and stop(list(tokens))):
            steps.append(self.step(rows=rows))
            tokens.append(int(greedy(steps[-1].logits.unsqueeze(0))))
            self.pending = tokens[-1]
        return VisibleResponse(
            torch.tensor(tokens),
            torch.stack([step.logits for step in steps]),
            {name: torch.stack([step.hidden[name] for step in steps]) for name in self.hidden_at},
            tuple(step.rows for step in steps) if rows else (),
        )

    def _feed(self, tokens: list[int]) -> Any:
        self._require_room(len(tokens))
        first, room, pending = len(self.run.visible), self.room, self.pending
        self.room, self.pending = 0, None  # should it fail, begin must be called again
        positions = torch.arange(first, first + len(tokens))
        output = self.run.feed(torch.tensor(tokens), positions)
        self.room, self.pending = room - len(tokens), pending
        return output

    def _require_pending(self) -> None:
        if self.pending is None:
            raise InputError("no token is pending; call begin, or say which token comes next")

    def _require_room(self, n_tokens: int) -> None:
        if n_tokens > self.room:
            raise InputError(
                f"{n_tokens} tokens would run, but there is room for {self.room}; call begin with "
                f"a larger n_new"
            )

    def _token(self, value: Any) -> int:
        token = _whole(value, "a token")
        n_vocab = self.model.original_model.get_input_embeddings().weight.shape[0]
        if not 0 <= token < n_vocab:
            raise InputError(f"token ids must be in 0..{n_vocab - 1}; got {token}")
        return token


def _whole(value: Any, what: str) -> int:
    try:
        return index(value)
    except TypeError as error:
        raise InputError(f"{what} must be a whole number; got {value!r}") from error
