"""The documentation knows every kind of error, and every message."""

import re
from pathlib import Path
from typing import Any

from retrieval_lens import errors
from tests import by_path

DOCS = Path(__file__).parents[1] / "docs"


def module(name: str = "messages") -> Any:
    return by_path.load(f"docs/hooks/{name}.py")


def listed() -> list[tuple[str, str, str]]:
    return list(module().messages())


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
    assert not any("<" in text or "\\\\<" in text for _, _, text in listed())


def test_messages_that_are_worded_elsewhere_are_listed():
    texts = {(error, place): text for error, place, text in listed()}
    hub = [text for error, _, text in listed() if "no folder here; as a Hub id" in text]
    assert len(hub) == 1, "raised by a variable"
    assert ("FileFormatError", "retrieval_lens.heads.published_wu") in texts, "by a function"
    assert any("overflows here; load it in float32" in text for _, _, text in listed()), "a name"


def test_cures_stand_above_the_messages():
    rows = module().cures("ContextLengthError")
    assert len(rows) == 2 and rows[0].endswith("| shorten the prompt or `max_new_tokens` |")
    assert rows[0] in module().table()


def test_links_of_the_notebooks_lead_somewhere():
    links = [
        link
        for path in sorted((DOCS.parent / "tutorials").glob("*.ipynb"))
        for link in re.findall(r"\]\((\.\.?/[^)]*)\)", path.read_text("utf-8"))
    ]
    assert len(links) > 10
    for link in links:
        assert (DOCS / link.split("#")[0].removeprefix("../docs/")).is_file(), link
        assert link.startswith("../docs/"), "so that it holds in the repository too"
    html = (
        '<a href="../docs/concepts/rag.md#the-trail"><a href="03_a.ipynb"><img src="images/a.png">'
    )
    found = module("tutorial_links").site_links(html)
    assert found == (
        '<a href="../../concepts/rag/#the-trail"><a href="../03_a/"><img src="../images/a.png">'
    )
