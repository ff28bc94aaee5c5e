"""A trace made by hand, to try the figures without a model."""

from types import SimpleNamespace

PROMPT = ("The", " magic", " word", " is", " 4", "f", "2", "f", ".", "\n", "Question", "?")
RESPONSE = ("4", "f", "2", "f", ".", "\n")
LOOKED_AT = (4, 5, 6, 7, 8, 9)


def demo_trace() -> SimpleNamespace:
    r"""Six steps of a model with 4 layers of 3 heads that copies `4f2f.` out of its prompt.

    L2H1 copies at steps 0 to 3, L1H0 at step 3 alone and L3H2 at steps 1 and 4; every other
    head looks at position 0. Returns an object that fulfils `TraceLike`.

    Examples:
        >>> demo_trace().text
        '4f2f.\n'
        >>> demo_trace().scores["copy_paste"][:, 2, 1].tolist()
        [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    """
    import torch

    scores = torch.zeros(len(RESPONSE), 4, 3)
    for layer, head, steps in ((2, 1, (0, 1, 2, 3)), (1, 0, (3,)), (3, 2, (1, 4))):
        scores[list(steps), layer, head] = 1.0
    looked_at = torch.tensor(LOOKED_AT)[:, None, None]
    first = torch.where(scores > 0, looked_at, 0)
    second = torch.where(scores > 0, 0, looked_at)
    n_steps = len(RESPONSE)
    return SimpleNamespace(
        token_ids=torch.arange(len(PROMPT)),
        prompt_str_tokens=PROMPT,
        evidence=torch.arange(4, 9),
        tokens=torch.tensor(LOOKED_AT),
        str_tokens=RESPONSE,
        text="".join(RESPONSE),
        truncated=False,
        scores={"copy_paste": scores, "reasoning": scores * 0.5 + 0.125},
        thresholds={
            "copy_paste": torch.full((n_steps,), 0.5),
            "reasoning": torch.full((n_steps,), 0.25),
        },
        chance={"copy_paste": torch.zeros(n_steps), "reasoning": torch.full((n_steps,), 0.125)},
        top_positions=torch.stack([first, second], dim=-1),
        top_weights=torch.tensor([0.75, 0.25]).expand(n_steps, 4, 3, 2).clone(),
        metrics={"exact": True},
        provenance={"model": "made by hand"},
    )
