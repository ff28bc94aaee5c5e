"""Turn a GGUF file into a folder that transformers loads in a second.

transformers reads GGUF by itself, but slowly, and refuses to save what it read, because it takes
the model for a quantised one. So a clean model of the same configuration is filled with the same
weights, and that one is saved.

Source: https://huggingface.co/docs/transformers/gguf
"""

import copy
import errno
import io
import os
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from retrieval_lens.errors import CheckpointError


def convert_gguf(gguf: Path, folder: Path, label: str) -> None:
    """Write float32 safetensors, configuration, generation settings and tokenizer.

    Args:
        gguf: The file to read.
        folder: Is made; nothing but the result is written into it.
        label: The name that the configuration carries.

    Raises:
        CheckpointError: The file cannot be read.
        OSError: The disk is full.
    """
    # transformers draws two bars of its own that no setting of it turns off.
    with redirect_stderr(io.StringIO()):
        try:
            tokenizer, model = _read(gguf, label)
        except (ValueError, KeyError, RuntimeError) as error:
            raise CheckpointError(f"{gguf.name} cannot be converted: {error}") from error
        try:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        except Exception as error:
            # safetensors reports a full disk as an error of its own kind.
            if "No space left" in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
            raise


def _read(gguf: Path, label: str) -> tuple[Any, Any]:
    """Tokenizer and a clean float32 model of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = copy.deepcopy(loaded.config)
    for flag in ("quantization_config", "_is_quantized", "_model_name_or_path"):
        config.__dict__.pop(flag, None)
    config._name_or_path = label
    config.architectures = [type(loaded).__name__]
    with torch.device("meta"):
        clean = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    clean.load_state_dict(loaded.state_dict(), assign=True)
    clean.tie_weights()
    clean.generation_config = copy.deepcopy(loaded.generation_config)
    return tokenizer, clean
