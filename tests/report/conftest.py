"""The browser of the pictures, and folders of every kind."""

from pathlib import Path

import pytest

import retrieval_lens as rl
from retrieval_lens.report import report
from tests.corpora.killed import MODEL, examples
from tests.report import folders
from tests.tiny_models import tiny_bridge
from tests.viz.conftest import browser, open_document  # noqa: F401


@pytest.fixture(scope="session")
def needles(tmp_path_factory) -> Path:
    return folders.needles(tmp_path_factory.mktemp("needles"))


@pytest.fixture(scope="session")
def questions(tmp_path_factory) -> Path:
    return folders.questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="session")
def answers(tmp_path_factory) -> Path:
    return folders.answers(tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="session")
def corpus(smollm2, tmp_path_factory) -> Path:
    return folders.corpus(smollm2, tmp_path_factory.mktemp("corpus") / "whole")


@pytest.fixture(scope="session")
def tiny_model():
    """A random model that was passed in."""
    return tiny_bridge(MODEL)


@pytest.fixture(scope="session")
def tiny(tiny_model, tmp_path_factory) -> Path:
    """Eight prompts of no task; nothing is ever copied from them."""
    path = tmp_path_factory.mktemp("private") / "tiny"
    rl.collect(tiny_model, examples(8), path, max_new_tokens=16, progress=False)
    return path


@pytest.fixture(scope="session")
def tiny_page(tiny) -> str:
    """Its page, with canonical correlations."""
    return report(tiny, cca=True, progress=False)


@pytest.fixture(scope="session")
def documents(needles, questions, answers, corpus) -> dict[str, str]:
    """The page of each."""
    found = {"needles": needles, "answers": answers, "corpus": corpus}
    pages = {name: report(folder, progress=False) for name, folder in found.items()}
    return pages | {"questions": report(questions, title=folders.TITLE, progress=False)}
