"""Wrap a model in a bridge.

The tokenizer: TransformerLens would load it again with `add_bos_token=True`, which puts a token in
front of every plain text. It is handed over as it is instead, so that it tokenizes as its makers
meant; one that is passed in is copied, and edits to it (a chat template, added tokens) are kept.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_lens.errors import InputError
from retrieval_lens.models.reading import (
    WholeWeights,
    read_architecture,
    require_adapter,
    told_plainly,
)
from retrieval_lens.models.sources import check_folder, check_tokenizer

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge


def boot_folder(
    folder: Path, name: str, tokenizer: Any, progress: bool, options: dict[str, Any]
) -> "TransformerBridge":
    """A bridge around the model in a folder.

    Args:
        folder: Configuration, safetensors weights and, unless one is passed in, a tokenizer.
        name: What the bridge is called.
        tokenizer: Used instead of the folder's.
        progress: Show the bar of the weights.
        options: device, dtype, device_map, trust_remote_code, as TransformerLens takes them.

    Raises:
        CheckpointError: A file is missing or damaged.
        UnsupportedModelError: TransformerLens or transformers do not know the architecture.
    """
    from transformer_lens.model_bridge import TransformerBridge

    check_folder(folder)
    if tokenizer is None:
        check_tokenizer(folder)
    weights = WholeWeights(read_architecture(folder, options["trust_remote_code"]))
    if tokenizer is None:
        tokenizer = _own_tokenizer(folder, options["trust_remote_code"])
    with _shielded(tokenizer) as given, _bars(progress), told_plainly(folder):
        bridge = TransformerBridge.boot_transformers(
            str(folder), tokenizer=given, model_class=weights, **options
        )
    bridge.cfg.model_name = name
    return bridge


def boot_module(
    hf_model: Any, tokenizer: Any, device: "torch.device | None"
) -> "TransformerBridge":
    """A bridge around a transformers model that is in memory; it is wrapped in place.

    Args:
        hf_model: The model.
        tokenizer: Its tokenizer, or None.
        device: Where to move it, or None to leave it where it is.

    Raises:
        InputError: Spread over several devices, and a device asked for.
        UnsupportedModelError: TransformerLens does not know the architecture.
    """
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformer_lens.utilities.attn_implementation import force_eager_attention
    from transformer_lens.utilities.multi_gpu import count_unique_devices, find_embedding_device

    if device is not None:
        if getattr(hf_model, "hf_device_map", None):
            raise InputError("hf_model is spread over devices by its device map; leave device out")
        hf_model.to(device)  # pyright: ignore[reportArgumentType]
    architecture = type(hf_model).__name__
    require_adapter(architecture)
    hf_model.config.architectures = hf_model.config.architectures or [architecture]
    name = getattr(hf_model.config, "_name_or_path", "") or architecture
    force_eager_attention(hf_model)
    with _shielded(tokenizer) as given:
        bridge = build_bridge_from_module(
            hf_model, architecture, hf_config=hf_model.config, tokenizer=given, model_name=name
        )
    if getattr(hf_model, "hf_device_map", None):
        bridge.cfg.device = str(find_embedding_device(hf_model))
        bridge.cfg.n_devices = count_unique_devices(hf_model)
    return bridge


def require_plain_model(hf_model: Any) -> None:
    """Refuse what is no transformers model, or one that a bridge has been put around before.

    Raises:
        InputError: It is not what `boot_module` can wrap.
    """
    from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
    from transformers import PreTrainedModel

    if not isinstance(hf_model, PreTrainedModel):
        raise InputError(f"hf_model is a {type(hf_model).__name__}, wanted a transformers model")

    if any(isinstance(module, GeneralizedComponent) for module in hf_model.modules()):
        raise InputError(
            "hf_model is wrapped by a bridge already, in place; use that bridge, or load it again"
        )


def _own_tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    """The tokenizer of a folder, as its configuration wants it."""
    from transformers import AutoTokenizer

    with told_plainly(folder):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)


@contextmanager
def _shielded(tokenizer: Any) -> Iterator[Any]:
    """A copy of the tokenizer that TransformerLens takes as it is, instead of loading it again."""
    if tokenizer is None:
        yield None
        return
    given = copy.deepcopy(tokenizer)
    kept = given.init_kwargs
    given.init_kwargs = {"name_or_path": "", **kept, "add_bos_token": True}
    yield given
    given.init_kwargs = kept


@contextmanager
def _bars(progress: bool) -> Iterator[None]:
    """Keep transformers' bars off standard error unless progress is wanted."""
    from transformers.utils import logging

    hidden = not progress and logging.is_progress_bar_enabled()
    if hidden:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hidden:
            logging.enable_progress_bar()
