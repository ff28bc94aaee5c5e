"""Compare two lists of heads: how many of the top k they share, and how alike they rank.

1. Overlap of the top k: |A ∩ B| / k, beside k / N, what two random lists share; and the Jaccard
   index.
2. Scores tie, above all at 0. Where the k-th score of a list is shared by more heads than there are
   places, the order (by layer and head) and not the list decides who is in, and it decides alike in
   both lists. `overlap_expected` gives each tied head the share of a place that it would get on
   average if ties were drawn by lot.
3. Spearman's rank correlation over the heads that both lists score.
4. Split-half stability of a detection: the same two numbers between two halves of its own examples.
   Two lists cannot agree more than each agrees with itself.
"""

from math import nan
from typing import Any

from retrieval_lens.detectors.agreement import places, spearman
from retrieval_lens.detectors.detection import Detection
from retrieval_lens.detectors.ranking import as_head_set, shape_of
from retrieval_lens.detectors.split_half import count_of, split_half
from retrieval_lens.errors import InputError
from retrieval_lens.heads import Head, HeadSet


def compare_heads(
    a: Any, b: Any, k: Any = 20, *, n_splits: Any = 100, seed: Any = 0
) -> dict[str, Any]:
    """How alike two lists are: two detectors, two models of one shape, ours and a published one.

    Args:
        a: A `Detection`, a frame of `detect_heads`, or a `HeadSet`.
        b: The other one.
        k: How many of the strongest heads are compared.
        n_splits: Random halves that the split-half numbers are averaged over.
        seed: Draws the halves.

    Returns:
        A dict, JSON-able but for the NaN:

        - `k`; `n_heads`, N, the heads of the model, None where neither list says;
        - `overlap`, |A ∩ B| / k; `shared`, the heads in both, in the order of `a`; `jaccard`;
        - `overlap_expected`, the overlap when ties at the cut are drawn by lot; `ties_a`, `ties_b`,
            how many heads tie for the last places (0 where there is no tie);
        - `chance_overlap`, k / N;
        - `rank_correlation`, Spearman's, over `n_ranked` heads; NaN with `rank_correlation_note`
            saying why where there is none;
        - `split_half_a`, `split_half_b`: as `split_half` gives them for a `Detection`, else None.

    Raises:
        InputError: Lists for different numbers of heads, `k` larger than a list, or something else
            than a list.

    Examples:
        >>> a = HeadSet(["L0H1", "L2H0", "L1H1"], scores=[0.9, 0.5, 0.1])
        >>> found = compare_heads(a, HeadSet(["L2H0", "L0H0"]), k=2)
        >>> found["overlap"], found["shared"], found["rank_correlation_note"]
        (0.5, ['L2H0'], 'list b has no scores')
    """
    lists = as_head_set(a), as_head_set(b)
    n_heads = _same_model(*lists)
    k = count_of("k", k)
    for name, heads in zip("ab", lists, strict=True):
        if k > len(heads):
            raise InputError(f"list {name} has {len(heads)} heads; take k <= {len(heads)}, not {k}")
    tops = [heads.top(k) for heads in lists]
    shared = [head for head in tops[0] if head in tops[1]]
    (in_a, ties_a), (in_b, ties_b) = (_chances(heads, k) for heads in lists)
    rank, n_ranked, note = _rank_correlation(*lists)
    halves = [
        split_half(one, k, n_splits=n_splits, seed=seed) if isinstance(one, Detection) else None
        for one in (a, b)
    ]
    return {
        "k": k,
        "n_heads": n_heads,
        "overlap": len(shared) / k,
        "shared": [str(head) for head in shared],
        "jaccard": tops[0].jaccard(tops[1]),
        "overlap_expected": sum(in_a[head] * in_b.get(head, 0.0) for head in in_a) / k,
        "ties_a": ties_a,
        "ties_b": ties_b,
        "chance_overlap": k / n_heads if n_heads else nan,
        "rank_correlation": rank,
        "n_ranked": n_ranked,
        "rank_correlation_note": note,
        "split_half_a": halves[0],
        "split_half_b": halves[1],
    }


def _chances(heads: HeadSet, k: int) -> tuple[dict[Head, float], int]:
    """`places` by head; a list without scores has no ties."""
    if heads.scores is None:
        return dict.fromkeys(heads.heads[:k], 1.0), 0
    chances, tied = places(heads.scores, k)
    return dict(zip(heads.heads, chances, strict=False)), tied


def _rank_correlation(a: HeadSet, b: HeadSet) -> tuple[float, int, str | None]:
    """Spearman's rho over the heads that both score, their number, and why there is no rho."""
    for name, heads in (("a", a), ("b", b)):
        if heads.scores is None:
            return nan, 0, f"list {name} has no scores"
    first, second = (dict(zip(x.heads, x.scores or (), strict=True)) for x in (a, b))
    both = [head for head in a if head in second]
    rho, note = spearman([first[head] for head in both], [second[head] for head in both])
    return rho, len(both), note


def _same_model(a: HeadSet, b: HeadSet) -> int | None:
    """The number of heads of the model.

    Raises:
        InputError: The lists are for models of different sizes.
    """
    shapes = [shape_of(a), shape_of(b)]
    known = [shape for shape in shapes if shape is not None]
    if not known:
        return None
    if len(set(known)) > 1:
        raise InputError(
            f"the lists are for different numbers of heads: {shapes[0]} and {shapes[1]} (layers, "
            f"heads a layer); compare lists of one architecture"
        )
    for heads in (a, b):
        heads.require_within(*known[0])
    return known[0][0] * known[0][1]
