"""The registry of named checkpoints, and where they are kept."""

import dataclasses
from pathlib import Path

import pytest

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.models import (
    cache_folder,
    checkpoint_names,
    named_checkpoint,
    register_checkpoint,
)


def test_the_embedded_default_is_one_exact_file():
    default = named_checkpoint("smollm2-135m")
    assert default.gguf_sha256.startswith("b179c9523d0e6a0f98a330c7562b6827")
    assert default.licence == "Apache-2.0"


def test_a_name_is_given_once(toy):
    assert checkpoint_names() == ["smollm2-135m", "toy"]
    with pytest.raises(InputError, match="a checkpoint named 'toy' exists"):
        register_checkpoint(toy)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownNameError, match="'smol'; known: smollm2-135m"):
        named_checkpoint("smol")


@pytest.mark.parametrize("digest", ["", "abc", "z" * 64, "A" * 64])
def test_digests_are_digests(toy, digest):
    for field in ("wheel_sha256", "gguf_sha256"):
        with pytest.raises(InputError, match="is no sha256"):
            dataclasses.replace(toy, **{field: digest})


def test_where_checkpoints_are_kept(monkeypatch, tmp_path):
    for name in ("RETRIEVAL_LENS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "retrieval_lens"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/retrieval_lens")
    monkeypatch.setenv("RETRIEVAL_LENS_CACHE", "~/ours")
    assert cache_folder() == tmp_path / "ours"
    assert cache_folder("/mine") == Path("/mine")
