"""Random heads: uniform over all heads of a model, without replacement."""

from collections.abc import Iterable
from random import Random
from typing import Any, SupportsIndex

from retrieval_lens.errors import InputError
from retrieval_lens.heads.head import Head
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.models import attention_layers


def random_heads(
    model: Any, k: SupportsIndex = 20, seed: SupportsIndex = 0, exclude: Iterable[Any] = ()
) -> HeadSet:
    """`k` heads drawn uniformly; the same seed gives the same heads. Draw several.

    Args:
        model: A bridge, or its (layers, heads a layer).
        k: How many.
        seed: Of the draw.
        exclude: Heads that are left out, such as a static set.

    Raises:
        InputError: More heads asked for than there are.

    Examples:
        >>> random_heads((30, 9), k=3, seed=0)
        HeadSet(3 heads: L21H8 L23H8 L2H2)
    """
    n_layers, n_heads = model_shape(model)
    left_out = HeadSet(exclude)
    count, draw = k.__index__(), seed.__index__()
    pool = [
        head
        for head in (Head(i, j) for i in range(n_layers) for j in range(n_heads))
        if head not in left_out
    ]
    if not 0 <= count <= len(pool):
        raise InputError(f"k must be in 0..{len(pool)}, the heads to draw from; got {count}")
    made = {"detector": "random", "k": count, "seed": draw, "excluded": len(left_out)}
    heads = Random(draw).sample(pool, count)
    return HeadSet(heads, provenance=made, example_ids=getattr(exclude, "example_ids", ()))


def model_shape(model: Any) -> tuple[int, int]:
    """Layers with attention and heads in each, of a bridge or a pair."""
    if isinstance(model, tuple):
        n_layers, n_heads = model
        return int(n_layers), int(n_heads)
    return len(attention_layers(model)), int(model.cfg.n_heads)
