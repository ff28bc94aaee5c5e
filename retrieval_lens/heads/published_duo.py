"""Files of DuoAttention (Xiao et al. 2024): tab-separated gates, a row a layer, a column a KV head.

1. A gate is in [0, 1]: how much the KV head needs the whole context. Training leaves some a little
   below 0; as the authors' own reader does, gates are clipped to [0, 1].
2. A KV head stands for its whole group: `n_heads / n_kv_heads` query heads that follow each other.
   A file does not say how large the groups are, so the model must be known.
"""

from pathlib import Path

from retrieval_lens.errors import InputError
from retrieval_lens.heads.head import Head
from retrieval_lens.heads.published_list import Architecture, PublishedList, damaged

SLACK = 0.01  # how far below 0 or above 1 a gate may lie


def read_duo(path: Path, text: str, architecture: Architecture | None) -> PublishedList:
    """The gate of each query head: that of its KV head.

    Raises:
        FileFormatError: No table of numbers in [0, 1] with rows of one length, or cut short.
        InputError: The number of KV heads of the model is not known, or is another one.
    """
    if not text.endswith("\n"):
        raise damaged(path, "its last row has no end, so it may be cut short")
    gates = [_row(path, i, line) for i, line in enumerate(text.splitlines())]
    if len({len(row) for row in gates}) > 1:
        raise damaged(path, "its rows are not all of one length")
    n_layers, n_kv_heads = len(gates), len(gates[0])
    if architecture is None or architecture.n_kv_heads is None:
        raise InputError(
            f"{path} lists {n_layers} layers of {n_kv_heads} KV heads, which stand for groups of "
            f"query heads; pass model=, a bridge or (layers, heads, KV heads), to know the groups"
        )
    if (n_layers, n_kv_heads) != (architecture.n_layers, architecture.n_kv_heads):
        raise InputError(
            f"{path} is for another architecture: {n_layers} layers of {n_kv_heads} KV heads; "
            f"the model has {architecture}"
        )
    group = architecture.n_heads // n_kv_heads
    scores = {
        Head(i, j * group + member): gate
        for i, row in enumerate(gates)
        for j, gate in enumerate(row)
        for member in range(group)
    }
    says = {"grouping": {"n_kv_heads": n_kv_heads, "query_heads_per_kv_head": group}}
    return PublishedList(tuple(scores), tuple(scores.values()), architecture, says)


def _row(path: Path, index: int, line: str) -> list[float]:
    try:
        gates = [float(cell) for cell in line.split("\t")]
    except ValueError as error:
        raise damaged(path, f"row {index} holds no numbers: {line[:40]!r}") from error
    for gate in gates:
        if not -SLACK <= gate <= 1 + SLACK:
            raise damaged(path, f"row {index} holds {gate}, and a gate is in [0, 1]")
    return [min(max(gate, 0.0), 1.0) for gate in gates]
