"""Which heads are always at work, and which only in some contexts (after Wu et al., Sec. 3).

1. For every head: the share of steps at which it is active, and the share of examples in which it
   is active at least once.
2. A head that is active in every example is *always on*, one that is active in some is *context
   dependent*, the others are *never* active. With more examples fewer heads are always on.

Source: https://arxiv.org/abs/2404.15574
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from retrieval_lens.analysis.step_sets import gathered
from retrieval_lens.scores import StepScore

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("never", "context_dependent", "always_on")


def head_activity(
    traces: Iterable[Any], *, score: str | StepScore = "copy_paste"
) -> "pd.DataFrame":
    """How often every head is active, most often first; ties by layer and head.

    Source: [Wu et al.](https://arxiv.org/abs/2404.15574).

    Args:
        traces: Traces, or `StepSets`.
        score: By which heads of traces are active.

    Returns:
        layer, head, share_of_steps, share_of_examples, kind (one of `KINDS`).

    Raises:
        InputError: No trace, different models, or an example twice.

    Examples:
        ```python
        rl.analysis.head_activity([trace]).kind.value_counts()
        ```
    """
    import pandas as pd

    sets = gathered(traces, score)
    steps = torch.cat([one.active for one in sets]).double().mean(0)
    examples = torch.stack([one.active.any(0) for one in sets]).double().mean(0)
    n_layers, n_heads = steps.shape
    frame = pd.DataFrame(
        {
            "layer": [layer for layer in range(n_layers) for _ in range(n_heads)],
            "head": list(range(n_heads)) * n_layers,
            "share_of_steps": steps.flatten().tolist(),
            "share_of_examples": examples.flatten().tolist(),
        }
    )
    frame["kind"] = [KINDS[(share > 0) + (share == 1)] for share in frame["share_of_examples"]]
    return frame.sort_values("share_of_steps", ascending=False, kind="stable", ignore_index=True)
