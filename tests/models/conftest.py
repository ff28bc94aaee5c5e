"""A tiny model saved as users have them, and a tiny checkpoint inside a wheel."""

import hashlib
import zipfile
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from retrieval_lens.models import named
from retrieval_lens.models.named import NamedCheckpoint, register_checkpoint
from tests.tiny_models import tiny_hf


def toy_tokenizer():
    """One token a word: `w7` is token 7."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{index}": index for index in range(3, 199)}
    model = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", eos_token="</s>")


@pytest.fixture
def tokenizer():
    return toy_tokenizer()


@pytest.fixture
def folder(tmp_path):
    """A tiny Llama with its tokenizer, as `save_pretrained` leaves it."""
    place = tmp_path / "saved"
    tiny_hf("llama-gqa").save_pretrained(place)
    toy_tokenizer().save_pretrained(place)
    return place


GGUF = b"GGUF, not really"


def make_wheel(place: Path, gguf: bytes = GGUF) -> Path:
    """A wheel that pip accepts, with the file `lens_toy/toy.gguf` in it."""
    place.mkdir(parents=True, exist_ok=True)
    path = place / "lens_toy-1.0-py3-none-any.whl"
    info = "lens_toy-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in {
            "lens_toy/toy.gguf": gguf,
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: lens-toy\nVersion: 1.0\n",
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": b"",
        }.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return path


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The folder that pip takes packages from in this test; there is no network."""
    place = tmp_path / "index"
    place.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    return place


@pytest.fixture
def toy(index, tmp_path, monkeypatch):
    """The checkpoint `toy`, registered for one test, with its wheel in the index."""
    wheel = make_wheel(index)
    monkeypatch.setattr(named, "_REGISTRY", dict(named._REGISTRY))
    checkpoint = NamedCheckpoint(
        name="toy",
        package="lens-toy",
        version="1.0",
        wheel_sha256=digest(wheel.read_bytes()),
        gguf_member="lens_toy/toy.gguf",
        gguf_sha256=digest(GGUF),
        licence="Apache-2.0",
        description="a toy",
    )
    register_checkpoint(checkpoint)
    return checkpoint
