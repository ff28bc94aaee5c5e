"""Every Python block of the README, the docs and the docstrings is run.

A page of the docs has one namespace, block after block. Blocks in docstrings find `rl`, `model`,
`tracer`, `example` and `trace` ready.
"""

from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.markdown import PythonCodeBlockParser


@pytest.fixture
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def rl() -> Any:
    """The package."""
    import retrieval_lens

    return retrieval_lens


@pytest.fixture(scope="session")
def model(rl: Any) -> Any:
    """The embedded model."""
    return rl.load_model("smollm2-135m", device="cpu")


@pytest.fixture(scope="session")
def tracer(rl: Any, model: Any) -> Any:
    """A tracer of it."""
    return rl.RetrievalTracer(model)


@pytest.fixture(scope="session")
def example(rl: Any, model: Any) -> Any:
    """A short needle prompt."""
    return rl.needle_example(model.tokenizer, n_tokens=40, seed=0)


@pytest.fixture(scope="session")
def trace(tracer: Any, example: Any) -> Any:
    """Its trace."""
    return tracer.trace(example, max_new_tokens=4)


pages = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    fixtures=["_in_an_empty_folder"],
    teardown=dict.clear,  # a page's models go with it
)
docstrings = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["retrieval_lens/**/*.py"],
    document_types={".py": PythonDocStringDocument},
    fixtures=["_in_an_empty_folder", "rl", "model", "tracer", "example", "trace"],
    teardown=dict.clear,
)
pytest_collect_file = (pages + docstrings).pytest()
