"""Load a model as a TransformerLens bridge, with its raw weights.

1. `hf_model=`: a transformers model in memory. Otherwise `name` is, in this order, a named
   checkpoint, a folder, a Hub id.
2. The weights are safetensors; pickles are refused, code that comes with a model is not run
   unless asked for, and a damaged file is named.
3. The bridge computes the model's own logits: layer norms are not folded and nothing is centred,
   so compatibility mode stays off.
4. It is proven that attention can be read and edited (`prove_attention`), unless `check=False`.

Source: https://transformerlensorg.github.io/TransformerLens/
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_lens.errors import CheckpointError, InputError
from retrieval_lens.models.booting import boot_folder, boot_module, require_plain_model
from retrieval_lens.models.checkpoints import checkpoint_folder
from retrieval_lens.models.info import Provenance, remember
from retrieval_lens.models.named import checkpoint_names
from retrieval_lens.models.seal import WEIGHTS, read_seal
from retrieval_lens.models.sources import hub_folder

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge

_DTYPES = ("float32", "float64", "bfloat16", "float16")


def load_model(
    name: str | os.PathLike[str] = "smollm2-135m",
    *,
    hf_model: Any = None,
    tokenizer: Any = None,
    device: "str | torch.device | None" = None,
    dtype: "str | torch.dtype | None" = None,
    device_map: str | dict[str, Any] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    check: bool = True,
    progress: bool = True,
) -> "TransformerBridge":
    """Load a model whose heads can be traced and ablated.

    Args:
        name: A named checkpoint, a folder written by `save_pretrained`, or a Hub id.
        hf_model: A transformers model to use instead; it is wrapped in place, moved to `device`
            when one is given, and never cast.
        tokenizer: Used instead of the model's own. With `hf_model` and no tokenizer the bridge
            has none, and takes token ids only.
        device: Default: the first CUDA device, or the CPU where there is none.
        dtype: float32 (the default), float64, bfloat16 or float16; as a name or a torch dtype.
        device_map: How transformers spreads a large model; excludes `device`.
        revision: Branch, tag or commit of a Hub id.
        trust_remote_code: Run code that comes with the model. Only for sources you trust.
        cache_dir: Where named checkpoints are kept.
        check: Prove that attention can be read and edited; a few short forward passes.
        progress: Say on standard error what takes long.

    Raises:
        InputError: Arguments that are unknown or exclude one another.
        UnknownNameError: Nothing has this name; the known ones are listed.
        CheckpointError: Weights missing, damaged, pickled, or not to be fetched.
        UnsupportedModelError: The attention of this model cannot be read or edited.
    """
    wanted = _dtype(dtype)
    if device is not None and device_map is not None:
        raise InputError(
            f"device={str(device)!r} and device_map={device_map!r} exclude each other; pass one"
        )
    if hf_model is not None:
        if device_map is not None or revision is not None:
            raise InputError("device_map and revision do not apply to hf_model=: it is loaded")
        require_plain_model(hf_model)
        _same_dtype(hf_model, wanted)
        known = _provenance_of_module(hf_model)
        bridge = boot_module(hf_model, tokenizer, _device(device) if device else None)
    else:
        known, folder = _find(str(name), revision, cache_dir, progress)
        place = None if device_map is not None else _device(device)
        options = {"device": place, "dtype": wanted or _dtype("float32"), "device_map": device_map}
        options["trust_remote_code"] = trust_remote_code
        bridge = boot_folder(folder, known.name, tokenizer, progress, options)
    bridge.eval()
    remember(bridge, known)
    if check:
        from retrieval_lens.models.checks import prove_attention

        prove_attention(bridge)
    return bridge


def _find(
    name: str, revision: str | None, cache_dir: str | os.PathLike[str] | None, progress: bool
) -> tuple[Provenance, Path]:
    """What a name stands for, and the folder that it is in."""
    if name in checkpoint_names():
        if revision is not None:
            raise InputError(f"revision does not apply to {name!r}: it is always the same file")
        folder = checkpoint_folder(name, cache_dir, progress)
        sealed = read_seal(folder)
        digest = sealed["files"][WEIGHTS]["sha256"] if sealed else None
        return Provenance(name, "checkpoint", None, digest), folder
    if Path(name).expanduser().is_dir():
        if revision is not None:
            raise InputError(f"revision does not apply to the folder {name!r}")
        return Provenance(name, "folder"), Path(name).expanduser()
    if Path(name).is_absolute() or name.startswith((".", "~")):
        raise CheckpointError(f"the folder {name!r} does not exist")
    folder = hub_folder(name, revision)
    return Provenance(name, "hub", folder.name), folder


def _provenance_of_module(hf_model: Any) -> Provenance:
    """How a model in memory is labelled."""
    config = hf_model.config
    label = getattr(config, "_name_or_path", "") or type(hf_model).__name__
    return Provenance(label, "hf_model", getattr(config, "_commit_hash", None))


def _dtype(dtype: "str | torch.dtype | None") -> "torch.dtype | None":
    """A torch dtype from its name."""
    import torch

    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; wanted one of {', '.join(_DTYPES)}")
    return getattr(torch, name)


def _same_dtype(hf_model: Any, wanted: "torch.dtype | None") -> None:
    """Refuse to cast a model that someone else has loaded."""
    if wanted is not None and hf_model.dtype != wanted:
        raise InputError(
            f"hf_model is in {hf_model.dtype}, dtype asks for {wanted}; load it in that dtype"
        )


def _device(device: "str | torch.device | None") -> "torch.device":
    """A device that is there."""
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {str(device)!r} cannot be used: {reason}") from error
    return found
