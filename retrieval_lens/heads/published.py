"""Read the lists of heads that others published.

1. The file is read in its own format, one reader a format, and anything damaged is refused.
2. Where the model is given, a list for another architecture is refused.
3. Heads are ordered by score, ties by layer and head; a list without scores keeps its order.

| format | published by | file | a head's score |
|---|---|---|---|
| `wu` | Wu et al. 2024, arXiv 2404.15574 | JSON, every head, a list of samples | mean of its list |
| `headkv` | HeadKV, Fu et al. 2024, arXiv 2410.19258 | the same | mean of its list |
| `qrhead` | QRHead, Zhang et al. 2025, arXiv 2506.09944 | YAML, ranked heads | none |
| `duo` | DuoAttention, Xiao et al. 2024, arXiv 2410.10819 | TSV, KV heads | gate of its KV head |
"""

import hashlib
from pathlib import Path
from typing import Any

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.published_duo import read_duo
from retrieval_lens.heads.published_list import (
    Architecture,
    PublishedList,
    architecture_of,
    damaged,
    whole_number,
)
from retrieval_lens.heads.published_qrhead import read_qrhead
from retrieval_lens.heads.published_wu import read_wu

_READERS = {
    "wu": (read_wu, "Wu et al. 2024"),
    "headkv": (read_wu, "HeadKV, Fu et al. 2024"),
    "qrhead": (read_qrhead, "QRHead, Zhang et al. 2025"),
    "duo": (read_duo, "DuoAttention, Xiao et al. 2024"),
}


def published_heads(
    path: str | Path, format: str = "wu", model: Any = None, k: Any = None
) -> HeadSet:
    """A published list as a head set, strongest first.

    Args:
        path: The file.
        format: `wu`, `headkv`, `qrhead` or `duo`.
        model: The model that the heads will be used with: a bridge, a `model_info` dict, or a tuple
            (layers, heads) or (layers, heads, KV heads). A list for another architecture is then
            refused. Only `duo` cannot do without.
        k: So many of the strongest; None takes all.

    Returns:
        The heads with their scores. `provenance` holds the format, the file's name and sha256,
        the detector, the number of heads listed, the samples and the grouping where there are any,
        and layers and heads where they are known.

    Raises:
        FileNotFoundError: There is no such file.
        FileFormatError: The file is damaged, or of another format.
        InputError: A list for another architecture, no list in the file, `duo` without a model,
            or `k` out of range.
        UnknownNameError: No such format.

    Examples:
        ```python
        from pathlib import Path

        Path("list.yaml").write_text('attn_head_set: "13-18,8-11,13-1"')
        heads = rl.heads.published_heads("list.yaml", format="qrhead", model=(32, 32), k=2)
        assert str(heads) == "L13H18 L8H11"
        ```
    """
    if format not in _READERS:
        raise UnknownNameError(f"no format {format!r}; known are: {', '.join(_READERS)}")
    read, detector = _READERS[format]
    wanted = None if model is None else architecture_of(model)
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, f"it is not text ({error.reason})") from error
    found = read(path, text, wanted)
    architecture = _agreed(path, found, wanted)
    provenance = {
        "detector": detector,
        "format": format,
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "n_listed": len(found.heads),
        **({} if architecture is None else _sizes(architecture)),
        **found.says,
    }
    return _ordered(found, k, provenance)


def _agreed(path: Path, found: PublishedList, wanted: Architecture | None) -> Architecture | None:
    """The architecture of list and model, where it is known.

    Raises:
        InputError: They differ.
    """
    stated = found.architecture
    if wanted is None:
        return stated
    if stated is not None and stated[:2] != wanted[:2]:
        named = found.says.get("published_for")
        raise InputError(
            f"{path} is for another architecture: {named + ', ' if named else ''}{stated}; the "
            f"model has {wanted}"
        )
    try:
        HeadSet(found.heads).require_within(wanted.n_layers, wanted.n_heads)
    except InputError as error:
        raise InputError(f"{path} is for another architecture: {error}") from error
    return wanted


def _sizes(architecture: Architecture) -> dict[str, int]:
    return {"n_layers": architecture.n_layers, "n_heads": architecture.n_heads}


def _ordered(found: PublishedList, k: Any, provenance: dict[str, Any]) -> HeadSet:
    n_listed = len(found.heads)
    count = n_listed if k is None else whole_number(k)
    if not 1 <= count <= n_listed:
        raise InputError(f"k must be in 1..{n_listed}, the heads of the list; got {k!r}")
    if found.scores is None:
        return HeadSet(found.heads[:count], provenance=provenance)
    pairs = sorted(zip(found.heads, found.scores, strict=True), key=lambda p: (-p[1], p[0]))
    heads, scores = zip(*pairs[:count], strict=True)
    return HeadSet(heads, scores, provenance=provenance)
