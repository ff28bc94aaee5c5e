"""Compensation: heads that begin to retrieve once others are masked (Sec. 3.3, Fig. 3).

E_{s,t} are the heads active in the masked pass of step t and not in its clean pass; m_s, the number
that Fig. 3 shows, is the largest overlap of E_{s,t} with the static heads over the steps.
"""

from retrieval_lens.ablation.ablated_run import AblatedRun
from retrieval_lens.heads import HeadSet


def compensation(run: AblatedRun, static: HeadSet, token: str = "masked") -> int:
    """m_s = max over steps of |E_{s,t} & S|; 0 where no step was run twice.

    Source: section 3.3 and figure 3 of
    [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162).

    Args:
        run: Made with a set that reads each step, such as `Dynamic(k=5)`.
        static: S, the paper's top 20.
        token: As in `AblatedRun.compensated`.

    Raises:
        InputError: An unknown `token`.
    """
    return max((len(found & static) for found in run.compensated(token)), default=0)
