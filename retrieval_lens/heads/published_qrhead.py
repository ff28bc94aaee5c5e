"""Files of QRHead (Zhang et al. 2025): YAML with a ranked `attn_head_set: "layer-head,…"`.

1. The list is ranked and has no scores; `full_heads` stands for "all heads" and is no list.
2. The file names its model. Where that model's layers and heads are known here, a list for another
   architecture is told even if all its heads happen to be in range.
"""

import re
from pathlib import Path

import yaml

from retrieval_lens.errors import InputError
from retrieval_lens.heads.head import Head
from retrieval_lens.heads.published_list import Architecture, PublishedList, damaged

# The models that lists were published for, from the configurations of their checkpoints.
_KNOWN = {
    "Llama-3.1-70B-Instruct": Architecture(80, 64, 8),
    "Llama-3.1-8B-Instruct": Architecture(32, 32, 8),
    "Llama-3.2-3B-Instruct": Architecture(28, 24, 8),
    "Llama-3.2-1B-Instruct": Architecture(16, 32, 8),
    "Qwen2.5-7B-Instruct": Architecture(28, 28, 4),
}
LONGEST = 100_000  # characters; YAML is slow to read, and real files have some hundred
_HEAD = re.compile(r"\s*([0-9]{1,6})-([0-9]{1,6})\s*")


def read_qrhead(path: Path, text: str, architecture: Architecture | None) -> PublishedList:
    """The ranked heads.

    Raises:
        FileFormatError: No YAML, no `attn_head_set`, a head that cannot be read or stands twice.
        InputError: The file means all heads.
    """
    said = _pairs(path, text)
    if "attn_head_set" not in said:
        raise damaged(path, "it has no attn_head_set")
    listed = said["attn_head_set"].strip()
    if listed == "full_heads":
        raise InputError(
            f"{path} says full_heads, all heads of the model: it holds no list; take one of the "
            f"files with a ranked attn_head_set"
        )
    heads = []
    for part in listed.split(","):
        match = _HEAD.fullmatch(part)
        if match is None:
            raise damaged(path, f"attn_head_set holds {part[:40]!r}, wanted layer-head")
        heads.append(Head(int(match[1]), int(match[2])))
    if len(set(heads)) < len(heads):
        raise damaged(path, "attn_head_set names a head twice")
    model = said.get("model_name_or_path") or said.get("model_base_class")
    known = _KNOWN.get((model or "").rsplit("/", 1)[-1])
    return PublishedList(tuple(heads), None, known, {"published_for": model})


def _pairs(path: Path, text: str) -> dict[str, str]:
    """Keys and values as texts: `1-2` must not become a number or a date."""
    if len(text) > LONGEST:
        raise damaged(path, f"{len(text)} characters are no short YAML file")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise damaged(path, " ".join(str(error).split())) from error
    if not isinstance(node, yaml.MappingNode):
        raise damaged(path, "wanted lines of `key: value`")
    found: dict[str, str] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise damaged(path, "wanted a text behind every key")
        if key.value in found:
            raise damaged(path, f"the key {key.value!r} stands twice")
        found[key.value] = value.value
    return found
