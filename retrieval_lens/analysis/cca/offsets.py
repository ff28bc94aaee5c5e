"""How well the hidden state tells the retrieval scores of later steps (Sec. 3.4, Figs 4 and 8).

1. The hidden state of step n is paired with the scores of all heads at step n + k (`pairs`).
2. Both sides are reduced to principal components (`features`).
3. Canonical correlation analysis finds the directions that correlate most (`canonical`).
4. Beside the in-sample numbers of the paper: held-out examples, exchanged trajectories as a null,
   what baselines know without the hidden state, and what it adds to them (`runs`).

Source: section 3.4 and appendix A.4, https://arxiv.org/abs/2602.11162; all but in-sample is ours.
"""

from dataclasses import asdict
from typing import Any

import pandas as pd

from retrieval_lens.analysis.cca.pairs import split_examples, step_table
from retrieval_lens.analysis.cca.runs import held_out_rows, in_sample_rows
from retrieval_lens.analysis.cca.settings import CcaSettings, offsets_of
from retrieval_lens.analysis.cca.sides import LEAST_VARIANCE
from retrieval_lens.analysis.trajectories import MODEL, trajectories
from retrieval_lens.folders import versions
from retrieval_lens.progress import progress_bar
from retrieval_lens.scores import StepScore

SETTINGS = (
    *("in_sample", "in_sample_same_support", "null_in_sample"),
    *("held_out", "null_held_out", "baselines", "hidden_and_baselines", "gain"),
)
NOTES = (
    "At offset 0 the copy-paste score of step n contains the token y_n, which is the arg-max of "
    "the hidden state times the unembedding: the hidden state predicts it by construction.",
    "In-sample correlations are near 1 whatever the data where n_train is not far above "
    "n_hidden_pcs + n_score_pcs; compare with null_in_sample.",
    "The same limit makes held-out fits useless: hidden_and_baselines has the most PCs "
    "(n_hidden_pcs + n_baseline_pcs), so with few training steps it falls below baselines and gain "
    "is negative. That is too little data, not a finding.",
    "gain is hidden_and_baselines minus baselines over n_averaged components that both have.",
)


def offset_cca(
    traces: Any,
    score: str | StepScore = "copy_paste",
    *,
    hidden_at: str | None = None,
    offsets: Any = range(0, 11),
    n_components: Any = 50,
    hidden_variance: Any = 0.95,
    score_variance: Any = 0.99,
    test_share: Any = 0.3,
    n_nulls: Any = 20,
    min_count: Any = 5,
    n_resamples: Any = 1000,
    confidence: Any = 0.95,
    seed: Any = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Canonical correlations of the hidden state with the scores `offset` steps later.

    One row for each offset, `setting`, `steps` and `statistic` (`top1`, and the means `mean10` and
    `mean50` of the first correlations, over `n_averaged` of them if there are fewer). Settings:

    - `in_sample`: fitted and judged on all examples, all pairs of the offset: the paper's.
    - `in_sample_same_support`: the same on the steps that every offset has, as all below.
    - `held_out`: PCs and directions from training examples, judged on the others. Signed, in
      training order.
    - `null_in_sample`, `null_held_out`: whole trajectories of scores exchanged between examples,
      step by step. Mean over permutations; `low` and `high` are their percentiles.
    - `baselines`: held-out, from the scores of step n (n − 1 at offset 0), the tokens x_n and y_n
      and the step index, without the hidden state.
    - `hidden_and_baselines`: held-out, from both.
    - `gain`: `hidden_and_baselines` minus `baselines`, paired. The number to look at.

    `steps` is `all`, or `non_empty` for held-out pairs at whose target step a head is active (the
    fit has all steps). `low` and `high` resample held-out examples, stratified by
    `meta["haystack"]`, without fitting again; NaN in-sample, and where a resample leaves nothing
    to correlate. `value` is NaN with fewer than three pairs to judge. `n_train` and `n_test` count
    pairs (means over permutations in nulls); `n_hidden_pcs`, `n_baseline_pcs`, `n_score_pcs`,
    `n_components` and `n_constant_heads` say what the reductions kept. `frame.attrs` holds the
    parameters, the split and notes, ready for JSON.
    The order of the traces does not matter.

    Args:
        traces: Traces, a corpus, or trajectories of one model, each example once.
        score: Which score, for traces.
        hidden_at: Hook of the hidden states, for traces; None takes the first that was traced.
        offsets: Steps between hidden state and scores.
        n_components: Canonical components, at most; fewer where a side has fewer PCs.
        hidden_variance: Share of variance that the PCs of hidden states hold, and those of tokens.
        score_variance: The same for scores.
        test_share: Share of examples held out.
        n_nulls: Permutations of each null; 0 leaves the nulls out.
        min_count: Tokens and step indices that are rarer on the training side share a category of
            the baselines; a category of a few steps fits them and nothing else.
        n_resamples: How often held-out examples are drawn anew.
        confidence: Of the intervals.
        seed: Of the split, the permutations and the resamples.
        progress: Show a bar.

    Raises:
        InputError: Too few examples or steps, scores or hidden states that do not vary, different
            models, or a parameter out of range.
        UnknownNameError: No such score or hook in a trace.
        NumericalError: A score or a hidden state is NaN or infinite.

    Examples:
        >>> import torch
        >>> from retrieval_lens.analysis.trajectories import Trajectory
        >>> def response(i):
        ...     scores = torch.rand(12, 2, 2)
        ...     hidden, ids = scores.flatten(1) @ torch.rand(4, 6), torch.arange(12)
        ...     return Trajectory(hidden, scores, scores > 0.5, ids, ids, f"e{i}")
        >>> frame = offset_cca([response(i) for i in range(8)], offsets=[0, 1], n_resamples=50)
        >>> frame[(frame.setting == "gain") & (frame.steps == "all")].offset.unique().tolist()
        [0, 1]
    """
    settings = CcaSettings(
        offsets=offsets_of(offsets),
        n_components=n_components,
        hidden_variance=hidden_variance,
        score_variance=score_variance,
        test_share=test_share,
        n_nulls=n_nulls,
        min_count=min_count,
        n_resamples=n_resamples,
        confidence=confidence,
        seed=seed,
    )
    found = trajectories(traces, score, hidden_at)
    table = step_table(found)
    split = split_examples(table, settings)
    total = len(settings.offsets) * (5 + 2 * settings.n_nulls)
    with progress_bar("CCA", total, progress) as advance:
        rows = [
            *in_sample_rows(table, settings, advance),
            *held_out_rows(table, split, settings, advance),
        ]
    # settings of one offset together, in the order of the list above
    rows.sort(key=lambda row: (row["offset"], SETTINGS.index(row["setting"]), row["steps"]))
    frame = pd.DataFrame(rows)
    train, test = ([table.names[i] for i in side] for side in split)
    frame.attrs = {
        **{"model": None, "score": str(score), "hidden_at": hidden_at},
        **{name: found[0].meta[name] for name in MODEL if name in found[0].meta},
        "versions": versions("numpy", "scikit-learn", "scipy"),
        **asdict(settings),
        "least_variance": LEAST_VARIANCE,
        "offsets": list(settings.offsets),
        "n_examples": len(found),
        "n_examples_same_support": len(train) + len(test),
        "train_examples": train,
        "test_examples": test,
        "notes": list(NOTES),
    }
    return frame
