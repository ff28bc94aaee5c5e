"""Examples and traces whose every number is known, made without a model."""

import torch

import retrieval_lens as rl
from retrieval_lens.scores import DecodedSteps

NEEDLE = "one two one three"
PROMPT = f"x {NEEDLE} x"
IDS = [9, 1, 2, 1, 3, 9]  # the needle at 1..4


def example(id="e0", ids=IDS, evidence=(1, 2, 3, 4), needle=NEEDLE):
    prompt = f"x {needle} x"
    return rl.RetrievalExample(
        id=id,
        prompt=prompt,
        token_ids=torch.tensor(ids),
        evidence=torch.tensor(evidence),
        evidence_spans=((2, 2 + len(needle)),),
    )


def trace(of, tokens, positions, text, model="made", truncated=False, score=None):
    """`positions`: [step][layer][head], the most attended position."""
    score = rl.CopyPaste() if score is None else score
    observed = torch.tensor(positions, dtype=torch.float32).unsqueeze(-1)
    tokens = torch.tensor(tokens)
    steps = DecodedSteps.of_response(of.token_ids, tokens, of.evidence)
    n_layers, n_heads = observed.shape[1:3]
    return rl.Trace(
        token_ids=of.token_ids,
        prompt_str_tokens=tuple("?" for _ in of.token_ids),
        evidence=of.evidence,
        tokens=tokens,
        str_tokens=tuple("?" for _ in tokens),
        text=text,
        truncated=truncated,
        scores={score.name: score.finish(observed, steps)},
        chance={score.name: score.chance(steps)},
        thresholds={score.name: score.threshold(score.chance(steps))},
        observed={score.observes: observed},
        channels={score.observes: score.channels},
        hiddens={},
        top_positions=torch.zeros(len(tokens), n_layers, n_heads, 0, dtype=torch.long),
        top_weights=torch.zeros(len(tokens), n_layers, n_heads, 0),
        provenance={
            "retrieval_lens": rl.__version__,
            "model": {"name": model, "n_layers": n_layers, "n_heads": n_heads},
            "example": {"id": of.id},
            "scores": {score.name: score.parameters()},
            "conventions": {"max_new_tokens": 64},
        },
    )


def detection(totals, weights=None, **changes):
    """Totals [example][layer][head]; each example weighs 1 unless told."""
    totals = torch.tensor(totals, dtype=torch.float64)
    weights = torch.ones(len(totals)) if weights is None else torch.tensor(weights)
    content = {
        "totals": totals,
        "weights": weights.double(),
        "example_ids": tuple(f"e{i}" for i in range(len(totals))),
        "detector": {"name": "made"},
        "threshold": 0.1,
    }
    return rl.detectors.Detection(**{**content, **changes})
