"""Folders of weights: fetched from a model hub, and looked at before anything is loaded.

1. A Hub id becomes a folder of the hub's own cache; pickled weights are not even fetched.
2. Every folder is checked: a configuration, safetensors weights, every shard there and whole.
"""

import json
import os
from difflib import get_close_matches
from pathlib import Path

from retrieval_lens.errors import CheckpointError, UnknownNameError
from retrieval_lens.models.named import checkpoint_names

INDEX = "model.safetensors.index.json"
# Beside the weights proper, repositories hold other formats of them and other precisions.
_SKIPPED = ["*/*", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.onnx", "*.h5", "*.msgpack"]
_SKIPPED += ["consolidated*.safetensors", "*.ot", "*.pkl", "*.zip", "*.tar*"]


# A file of a vocabulary, whatever the kind of the tokenizer.
_VOCABULARIES = ("tokenizer.json", "*.model", "vocab*", "*.tiktoken", "tekken.json", "*.spm")


def hub_folder(name: str, revision: str | None = None) -> Path:
    """The folder of a Hub id in the hub's cache; fetched where it is not there yet.

    Args:
        name: A Hub id such as `org/name` or `gpt2`.
        revision: Branch, tag or commit.

    Raises:
        UnknownNameError: Neither a named checkpoint, nor a folder, nor a Hub id that was found.
        CheckpointError: Not in the cache and the hub cannot be reached, or it refuses.
    """
    from huggingface_hub import errors, snapshot_download

    known = ", ".join(checkpoint_names())
    close = get_close_matches(name, checkpoint_names(), 1)
    near = f"; did you mean {close[0]!r}?" if close else ""
    try:
        return Path(snapshot_download(name, revision=revision, ignore_patterns=_SKIPPED))
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{name!r} is a gated model: accept its terms on the hub, and log in (HF_TOKEN)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{name!r} has no revision {revision!r} on the hub") from error
    except (errors.HFValidationError, errors.RepositoryNotFoundError) as error:
        raise UnknownNameError(
            f"{name!r} is no named checkpoint (known: {known}), no folder here, and no model on "
            f"the hub that you can read{near}"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as error:
        # A bare word is a mistyped name far more often than one of the few old Hub ids.
        kind = CheckpointError if "/" in name else UnknownNameError
        raise kind(
            f"{name!r} is no named checkpoint (known: {known}) and no folder here; as a Hub id it "
            "is not in the hub's cache, and the hub cannot be reached. Check the name and the "
            f"network, or pass the folder that holds the model{near}"
        ) from error


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be loaded safely and whole.

    Raises:
        CheckpointError: No configuration, no safetensors weights, or a damaged file; the message
            names it.
    """
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} has no config.json: wanted a folder written by save_pretrained"
        )
    for path in _weight_files(folder):
        _check_weights(path)


def check_tokenizer(folder: Path) -> None:
    """Refuse a folder without a tokenizer, for which transformers makes up an empty one.

    Raises:
        CheckpointError: No vocabulary is there.
    """
    if not any(path for pattern in _VOCABULARIES for path in folder.glob(pattern)):
        raise CheckpointError(
            f"{folder} has no tokenizer (wanted tokenizer.json or the like); pass tokenizer=, or "
            "save one there with tokenizer.save_pretrained"
        )


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model."""
    if (folder / INDEX).is_file():
        try:
            listed = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{folder / INDEX} is damaged: {error}") from error
        return [folder / name for name in sorted(set(listed.values()))]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    if pickles:
        raise CheckpointError(
            f"{folder} has its weights only as pickles ({pickles[0]}), which can run any code when "
            "loaded. If you trust them, load them with transformers and pass hf_model=, or write "
            "safetensors once: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new)"
        )
    raise CheckpointError(f"{folder} has no model.safetensors and no {INDEX}: the weights are gone")


def _check_weights(path: Path) -> None:
    """Open one safetensors file; its header must account for every byte."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path} is missing, though {INDEX} lists it")
    try:
        with safe_open(os.fspath(path), framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); {path.stat().st_size} bytes are "
            "there. Fetch or copy it again"
        ) from error
