"""Files of Wu et al. (arXiv 2404.15574) and HeadKV: `{"layer-head": [score of each sample]}`.

1. Every head of the model is a key; its list holds one number for each sample that passed the gate.
2. The score of a head is the mean of its list. It can exceed 1.
"""

import json
import re
from collections.abc import Mapping
from itertools import chain
from math import fsum, isfinite
from pathlib import Path
from typing import Any

from retrieval_lens.heads.head import Head
from retrieval_lens.heads.published_list import Architecture, PublishedList, damaged

_KEY = re.compile(r"([0-9]{1,6})-([0-9]{1,6})")


def read_wu(path: Path, text: str, architecture: Architecture | None) -> PublishedList:
    """Mean score of every head.

    Raises:
        FileFormatError: Anything but one list of finite numbers, of one length, for every head.
    """
    try:
        content = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"{error}") from error
    if not isinstance(content, dict) or not content:
        raise damaged(path, 'wanted {"layer-head": [scores]}')
    samples = {_head(path, key): values for key, values in content.items()}
    if len(samples) < len(content):
        raise damaged(path, "one head stands under two keys")
    n_samples = _check_numbers(path, samples)
    stated = _whole_grid(path, samples)
    means = tuple(fsum(values) / n_samples for values in samples.values())
    return PublishedList(tuple(samples), means, stated, {"n_samples": n_samples})


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} among the scores")


def _head(path: Path, key: str) -> Head:
    match = _KEY.fullmatch(key)
    if match is None:
        raise damaged(path, f'a key is spelled "layer-head", not {key[:40]!r}')
    return Head(int(match[1]), int(match[2]))


def _check_numbers(path: Path, samples: Mapping[Head, Any]) -> int:
    """How many samples each head has, the same for all."""
    for head, values in samples.items():
        if not isinstance(values, list) or not values:
            raise damaged(path, f"head {head} has no list of scores")
    lengths = {len(values) for values in samples.values()}
    if len(lengths) > 1:
        raise damaged(path, f"heads have {min(lengths)} to {max(lengths)} samples, wanted as many")
    if not set(map(type, chain.from_iterable(samples.values()))) <= {int, float}:
        raise damaged(path, "a score is not a number")
    for head, values in samples.items():
        if min(values) < 0 or max(values) > 1e9 or not all(map(isfinite, values)):
            raise damaged(path, f"head {head} has a score that is negative, infinite or huge")
    return lengths.pop()


def _whole_grid(path: Path, samples: Mapping[Head, Any]) -> Architecture:
    """The model's layers and heads: the file holds all of them."""
    stated = Architecture(1 + max(h.layer for h in samples), 1 + max(h.head for h in samples))
    if len(samples) != stated.n_layers * stated.n_heads:
        raise damaged(path, f"{len(samples)} heads are listed, but keys run to {stated}")
    return stated
