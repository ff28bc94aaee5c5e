"""One list from whatever holds one: a detection, its frame, or a head set."""

from collections.abc import Mapping
from operator import index
from typing import TYPE_CHECKING, Any

from retrieval_lens.detectors.detection import Detection
from retrieval_lens.errors import InputError
from retrieval_lens.heads import HeadSet

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("layer", "head", "score")


def as_head_set(ranking: Any, k: Any = None) -> HeadSet:
    """The `k` strongest heads of a list, with scores, example ids and provenance.

    Args:
        ranking: A `Detection`, a frame of `detect_heads`, or a `HeadSet`, which keeps its order.
        k: How many; None takes all.

    Raises:
        InputError: Something else, a frame without the columns, or `k` out of range.

    Examples:
        ```python
        ranking = rl.detectors.ScoreMean().from_traces([trace], [example]).frame()
        rl.detectors.as_head_set(ranking, k=3).scores
        ```
    """
    if isinstance(ranking, HeadSet):
        listed = ranking
    else:
        frame = ranking.frame() if isinstance(ranking, Detection) else ranking
        listed = _from_frame(frame)
    try:
        count = len(listed) if k is None else index(k)
    except TypeError as error:
        raise InputError(f"k is a whole number, not {k!r}") from error
    if not 0 <= count <= len(listed):
        raise InputError(f"k must be in 0..{len(listed)}, the heads of the list; got {count}")
    return listed.top(count)


def shape_of(heads: HeadSet) -> tuple[int, int] | None:
    """Layers and heads of the model that a list is for, where its provenance says so."""
    model = heads.provenance.get("model")
    for said in (heads.provenance, model if isinstance(model, Mapping) else {}):
        if isinstance(said.get("n_layers"), int) and isinstance(said.get("n_heads"), int):
            return said["n_layers"], said["n_heads"]
    return None


def _from_frame(frame: "DataFrame | Any") -> HeadSet:
    if not set(COLUMNS) <= set(getattr(frame, "columns", ())):
        raise InputError(
            f"a list of heads is a Detection, a HeadSet, or a DataFrame with the columns "
            f"{', '.join(COLUMNS)}; got {type(frame).__name__}"
        )
    ordered = frame.sort_values(["score", "layer", "head"], ascending=[False, True, True])
    pairs = zip(ordered["layer"], ordered["head"], strict=True)
    attrs = {str(key): value for key, value in frame.attrs.items()}
    ids = attrs.pop("example_ids", ())
    return HeadSet(pairs, ordered["score"], example_ids=ids, provenance=attrs)
