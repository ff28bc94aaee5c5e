"""The documentation knows every kind of error, and every message."""

import importlib.util
from pathlib import Path

from retrieval_lens import errors

DOCS = Path(__file__).parents[1] / "docs"


def listed() -> list[tuple[str, str, str]]:
    spec = importlib.util.spec_from_file_location("messages", DOCS / "hooks" / "messages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.messages())


def kinds() -> set[str]:
    """Our errors that are raised as such; the others only have heirs."""
    every = {one for one in vars(errors).values() if isinstance(one, type)}
    return {one.__name__ for one in every} - {"RetrievalLensError", "ModelError"}


def test_each_kind_of_error_has_a_row_with_a_cure():
    page = (DOCS / "how-to" / "errors.md").read_text("utf-8")
    assert [name for name in sorted(kinds()) if f"| `{name}` |" not in page] == []


def test_each_kind_is_raised_with_a_message_that_the_list_has():
    assert kinds() <= {error for error, _, _ in listed()}


def test_values_are_left_out_and_markup_is_escaped():
    found = [text for error, place, text in listed() if place == "retrieval_lens.viz.revealed"]
    assert found == ["no row has a number in both … and …"]
    assert not any("<" in text.replace("\\<", "") for _, _, text in listed())
