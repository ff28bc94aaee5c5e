"""The browser of the pictures, and folders of every kind."""

from pathlib import Path

import pytest

from retrieval_lens.report import report
from tests.report import folders
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
def documents(needles, questions, answers, corpus) -> dict[str, str]:
    """The page of each."""
    found = {"needles": needles, "answers": answers, "corpus": corpus}
    pages = {name: report(folder, progress=False) for name, folder in found.items()}
    return pages | {"questions": report(questions, title=folders.TITLE, progress=False)}
