"""Put one row of a generation together into an `AblatedRun`."""

from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from retrieval_lens.ablation.ablated_run import AblatedRun
from retrieval_lens.ablation.generation import Row
from retrieval_lens.ablation.modes import AblationMode
from retrieval_lens.models import model_info
from retrieval_lens.tasks import RetrievalExample, response_metrics, response_outcome
from retrieval_lens.tasks.qa_metrics import accepted_answers

# which of several accepted answers counts: the order in which one answer's outcome is looked for
_BEST_FIRST = ("exact", "truncated", "partial", "refusal", "fluent_wrong")


def finish_run(bridge: Any, row: Row, mode: AblationMode, options: dict[str, Any]) -> AblatedRun:
    """The run of a row that has ended."""
    tokens = torch.tensor(row.tokens, dtype=torch.long)
    truncated = row.tokens[-1] not in options["stop_ids"]
    tokenizer = bridge.tokenizer
    text = tokenizer.decode(row.tokens, skip_special_tokens=True) if tokenizer else ""
    mask = torch.stack(row.masks)
    read = row.twice and row.strategy.reads_step
    clean = row.clean_tokens if row.twice else [-1] * len(row.tokens)
    return AblatedRun(
        example_id=row.example.id,
        tokens=tokens,
        clean_tokens=torch.tensor(clean, dtype=torch.long),
        text=text,
        truncated=truncated,
        mask=mask,
        active=_stacked(row.active if read else [], mask),
        active_masked=_stacked(row.active_masked if read else [], mask),
        active_masked_clean_token=_stacked(row.active_masked_clean_token if read else [], mask),
        scored=torch.full((len(tokens),), read),
        metrics=response_metrics(row.example, text, truncated) if tokenizer else {},
        outcome=_outcome(row.example, text, truncated) if tokenizer else "",
        provenance={
            "retrieval_lens": version("retrieval-lens"),
            "model": model_info(bridge),
            "example": {"id": row.example.id, "answer": row.example.answer, **row.example.meta},
            "heads": row.strategy.parameters(),
            "mode": mode.parameters(),
            "conventions": {
                "decoding": "greedy, lowest id of equal logits",
                "compensation": "active in the masked pass and not in the clean one",
                **options,
            },
        },
    )


def _stacked(steps: list[Tensor], like: Tensor) -> Tensor:
    """`[step, layer, head]`; a step that was not run twice has no compensation."""
    return torch.stack(steps) if len(steps) == len(like) else torch.zeros_like(like)


def _outcome(example: RetrievalExample, text: str, truncated: bool) -> str:
    words = example.meta.get("task") == "multihop"
    answers = accepted_answers(example) if words else [example.answer]
    found = [response_outcome(answer, text, truncated, words=words) for answer in answers]
    return min(found, key=_BEST_FIRST.index)
