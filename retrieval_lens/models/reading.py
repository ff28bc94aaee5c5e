"""Read configurations and weights with transformers, and say what went wrong in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrieval_lens.errors import CheckpointError, UnsupportedModelError


def read_architecture(folder: Path, trust_remote_code: bool) -> str:
    """The architecture that a folder's configuration names.

    Raises:
        CheckpointError: The configuration cannot be read.
        UnsupportedModelError: transformers or TransformerLens do not know it, or it needs code of
            its own that was not allowed to run.
    """
    from transformer_lens.model_bridge.sources._hf_format import (
        determine_architecture_from_hf_config,
    )
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (ValueError, KeyError, TypeError, OSError) as error:
        if "trust_remote_code" in str(error):
            raise UnsupportedModelError(
                f"{folder} brings code of its own; pass trust_remote_code=True if you trust it"
            ) from error
        if "model type" in str(error):
            raise UnsupportedModelError(
                f"transformers does not know this model: {_first_line(error)}"
            ) from error
        raise CheckpointError(
            f"{folder / 'config.json'} cannot be read: {_first_line(error)}"
        ) from error
    try:
        return determine_architecture_from_hf_config(config)
    except ValueError as error:
        raise _unsupported(str((config.architectures or [config.model_type])[0])) from error


def require_adapter(architecture: str) -> None:
    """Refuse an architecture that TransformerLens has no adapter for.

    Raises:
        UnsupportedModelError: It has none.
    """
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    if architecture not in SUPPORTED_ARCHITECTURES:
        raise _unsupported(architecture)


def _unsupported(architecture: str) -> UnsupportedModelError:
    """The error of an architecture without an adapter."""
    return UnsupportedModelError(
        f"TransformerLens has no adapter for {architecture}; wanted a decoder-only language model "
        "that TransformerBridge.list_supported_models() lists"
    )


def _first_line(error: Exception) -> str:
    """The line of an error that says what happened."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


class WholeWeights:
    """Loads what TransformerLens would load, from safetensors only, and refuses gaps.

    transformers fills a weight that no file holds with random numbers, and only logs it.
    """

    def __init__(self, architecture: str) -> None:
        from transformer_lens.model_bridge.sources.transformers import (
            get_hf_model_class_for_architecture,
        )

        self._auto: Any = get_hf_model_class_for_architecture(architecture)

    def from_pretrained(self, folder: str, **options: Any) -> Any:
        """As in transformers; raises CheckpointError where a weight is in no file."""
        model, told = self._auto.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **options
        )
        missing = sorted(told["missing_keys"])
        if missing:
            raise CheckpointError(
                f"{folder}: {len(missing)} weights are in no file, such as {missing[0]}; the "
                "folder is incomplete, fetch or save it again"
            )
        return model


@contextmanager
def told_plainly(folder: Path) -> Iterator[None]:
    """Turn what transformers raises while it loads a folder into one of our errors."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = _first_line(error)
        if "ignore_mismatched_sizes" in reason:
            reason = "the weights have other shapes than config.json says; fetch the folder again"
        raise CheckpointError(f"{folder} cannot be loaded: {reason}") from error
