"""Greedy decoding under ablation, several conditions as one batch.

1. Every condition is a row. The prompt is prefilled once; rows of the same prompt copy it.
2. A row whose heads are known beforehand runs each step once, masked.
3. A row whose heads depend on the step runs twice: a clean pass, whose token is discarded, finds
   the heads; the step is taken back and run again with them masked, and that token is kept. Where
   the step's set is empty the clean pass stands.
4. The masked pass starts at the lowest layer that has a masked head; what lies below is unchanged.
5. Later steps see the keys and values of the masked pass, or with `keep_kv="clean"` those of the
   clean one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool
from torch import Tensor

from retrieval_lens.ablation.clean_steps import (
    active_now,
    observers,
    step_while_decoding,
    unscored_step,
)
from retrieval_lens.ablation.head_edit import HeadEdit
from retrieval_lens.ablation.modes import AblationMode
from retrieval_lens.heads import StepHeads
from retrieval_lens.progress import Advance
from retrieval_lens.scores import StepScore
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing import Trace
from retrieval_lens.tracing.decoding import Decoder, greedy
from retrieval_lens.tracing.edits import AttentionEdit
from retrieval_lens.tracing.recorder import Observations, RowRecorder


@dataclass(eq=False)
class Row:
    """One condition of one example, and what has come of it so far."""

    example: RetrievalExample
    strategy: StepHeads
    trace: Trace | None = None
    twice: bool = False
    tokens: list[int] = field(default_factory=list)
    clean_tokens: list[int] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)
    active: list[Tensor] = field(default_factory=list)
    active_masked: list[Tensor] = field(default_factory=list)
    active_masked_clean_token: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Setting:
    """What all rows share: the mode, the attention layers' blocks and shape, and the choices."""

    mode: AblationMode
    blocks: list[int]
    shape: tuple[int, int]
    stop_ids: tuple[int, ...]
    keep_kv: str
    whole: bool  # scope="all": prefill and every step are masked


class Generation:
    """Runs rows to their end on one decoder; rows that run twice come first."""

    def __init__(self, decoder: Decoder, rows: Sequence[Row], setting: Setting):
        self.decoder: Decoder = decoder
        self.setting: Setting = setting
        self.rows: list[Row] = list(rows)
        self.scores: list[StepScore] = observers([row.strategy for row in rows])

    def prefill(self, max_new_tokens: int) -> None:
        """Take in the prompts, with room for that many steps."""
        prompts = [row.example.token_ids for row in self.rows]
        edits = [self._whole_edit(row) for row in self.rows]
        self.decoder.prefill(prompts, max_new_tokens, edits)

    @torch.inference_mode()
    def run(self, max_new_tokens: int, advance: Advance) -> None:
        """Decode what is prefilled until every row has ended or has `max_new_tokens`."""
        tokens = torch.tensor([int(row.example.token_ids[-1]) for row in self.rows])
        for _ in range(max_new_tokens):
            tokens = self._step(tokens)
            advance()
            going = [i for i, row in enumerate(self.rows) if not self._ended(row)]
            if not going:
                return
            if len(going) < len(self.rows):
                self.decoder.keep(going)
                self.rows, tokens = [self.rows[i] for i in going], tokens[going]

    def _ended(self, row: Row) -> bool:
        return row.tokens[-1] in self.setting.stop_ids

    def _whole_edit(self, row: Row) -> AttentionEdit | None:
        if not self.setting.whole:
            return None
        mask = self._select_unscored(row)
        return self._edit(mask.unsqueeze(0), [row], at_prefill=True) if mask.any() else None

    def _step(self, tokens: Tensor) -> Tensor:
        """One step of all rows: pass one, the choice of heads, pass two."""
        n_twice = sum(row.twice for row in self.rows)
        masks = torch.stack(
            [self._nothing() if row.twice else self._select_unscored(row) for row in self.rows]
        )
        before = self.decoder.snapshot()
        recorder = self._recorder(n_twice, self.setting.blocks)
        listener = recorder.listen if n_twice else None
        output = self.decoder.step(tokens, self._edit(masks, self.rows), listener)
        logits = output.logits
        if n_twice:
            observed = recorder.end_step()
            clean = greedy(logits[:n_twice])
            masks[:n_twice] = self._choose(observed, clean)
            second = None
            if masks[:n_twice].any():
                second = self._second_pass(tokens[:n_twice], masks[:n_twice], before, observed)
            logits = self._merge(logits, second, masks[:n_twice], clean)
        found = greedy(logits)
        for row, mask, token in zip(self.rows, masks, found.tolist(), strict=True):
            row.masks.append(mask)
            row.tokens.append(token)
        return found

    def _choose(self, observed: Observations, clean: Tensor) -> Bool[Tensor, "row layer head"]:
        """The heads of the rows that run twice, from their clean pass."""
        chosen = []
        for i, token in enumerate(clean.tolist()):
            row = self.rows[i]
            own = {name: value[i] for name, value in observed.items()}
            row.clean_tokens.append(token)
            if row.strategy.reads_step:
                step = step_while_decoding(
                    row.strategy, own, row.example, row.tokens, token, row.trace
                )
                row.active.append(step.active)
                chosen.append(row.strategy.select(step).mask(*self.setting.shape))
            else:
                row.active.append(self._nothing())
                chosen.append(self._select_unscored(row))
        return torch.stack(chosen)

    def _second_pass(
        self,
        tokens: Tensor,
        masks: Bool[Tensor, "row layer head"],
        before: object,
        observed: Observations,
    ) -> tuple[Tensor, Observations]:
        """Logits of the masked step, and what it showed; layers below the masks as they were."""
        n, blocks = len(tokens), self.setting.blocks
        keep_clean = self.setting.keep_kv == "clean"
        clean_state = self.decoder.snapshot(newest=True) if keep_clean else None
        self.decoder.restore(before)
        edit = self._edit(masks, self.rows[:n])
        seen: set[int] = set()
        recorder = self._recorder(n, blocks)

        def listen(layer: int, pattern: Tensor) -> None:
            seen.add(layer)
            recorder.listen(layer, pattern)

        output = self.decoder.step(tokens, edit, listen, again=True)
        if keep_clean:
            self.decoder.restore(clean_state)
        recorder.layers = [block for block in blocks if block in seen]
        first = len(blocks) - len(recorder.layers)
        again = recorder.end_step()
        whole = {
            k: torch.cat([observed[k][:, :first], again[k].to(observed[k].device)], dim=1)
            for k in again
        }
        return output.logits, whole

    def _merge(
        self,
        logits: Tensor,
        second: tuple[Tensor, Observations] | None,
        masks: Bool[Tensor, "row layer head"],
        clean: Tensor,
    ) -> Tensor:
        """Rows with an empty set keep the clean pass; the others take the masked one."""
        logits = logits if second is None else logits.clone()
        for i, mask in enumerate(masks):
            row = self.rows[i]
            if second is not None and mask.any():
                masked_logits, observed = second
                logits[i] = masked_logits[i]
                own = {name: value[i] for name, value in observed.items()}
                tokens = int(greedy(masked_logits[i : i + 1])), int(clean[i])
                after = [
                    active_now(row.strategy.score, own, row.example, row.tokens, token)[1]
                    for token in tokens
                ]
            else:
                after = [row.active[-1]] * 2
            row.active_masked.append(after[0])
            row.active_masked_clean_token.append(after[1])
        return logits

    def _select_unscored(self, row: Row) -> Bool[Tensor, "layer head"]:
        shape = self.setting.shape
        step = unscored_step(len(row.tokens), row.example.id, shape, row.trace)
        return row.strategy.select(step).mask(*shape)

    def _nothing(self) -> Bool[Tensor, "layer head"]:
        return torch.zeros(self.setting.shape, dtype=torch.bool)

    def _recorder(self, n: int, blocks: Sequence[int]) -> RowRecorder:
        """A recorder of the first `n` rows."""
        evidence = [row.example.evidence for row in self.rows[:n]]
        recorder = _FirstRows(self.scores, blocks, evidence, n_top=1)
        recorder.first_key = lambda n_keys: self.decoder.first_key(n_keys)[:n]
        recorder.query_positions = lambda: self.decoder.query_positions()[:n]
        return recorder

    def _edit(
        self, masks: Bool[Tensor, "row layer head"], rows: Sequence[Row], at_prefill: bool = False
    ) -> AttentionEdit | None:
        if not masks.any():
            return None
        n, evidence = len(rows), [row.example.evidence for row in rows]
        first_key = None if at_prefill else lambda n_keys: self.decoder.first_key(n_keys)[:n]
        return HeadEdit(self.setting.mode, masks, self.setting.blocks, evidence, first_key)


def decode(
    opened: Callable[[], Decoder],
    batches: Sequence[Sequence[Row]],
    setting: Setting,
    max_new_tokens: int,
    advance: Advance,
) -> None:
    """Decode batches of one prompt's rows; single rows all go on from the first one's prefill.

    Args:
        opened: Makes a decoder.
        batches: Rows that run together.
        setting: What they share.
        max_new_tokens: At most so many steps.
        advance: Called after every step.
    """
    if setting.whole or len(batches[0]) > 1:
        for rows in batches:
            with opened() as decoder:
                generation = Generation(decoder, rows, setting)
                generation.prefill(max_new_tokens)
                generation.run(max_new_tokens, advance)
        return
    with opened() as decoder:
        Generation(decoder, batches[0], setting).prefill(max_new_tokens)
        ready = decoder.snapshot()
        for rows in batches:
            decoder.restore(ready)
            Generation(decoder, rows, setting).run(max_new_tokens, advance)


class _FirstRows(RowRecorder):
    """A recorder that reads as many rows as it has evidence for."""

    def listen(self, layer: int, pattern: Tensor) -> None:
        super().listen(layer, pattern[: len(self.evidence)])
