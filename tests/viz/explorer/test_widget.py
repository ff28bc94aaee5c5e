import subprocess
import sys

import pytest
import traitlets

from retrieval_lens.errors import InputError
from retrieval_lens.viz.explorer import explore
from tests.viz.explorer.pages import walk


@pytest.fixture
def widget():
    return explore(walk(), static=[(2, 1)])


def test_what_is_open_at_first(widget):
    assert widget.selection == {
        "step": 0,
        "head": None,
        "position": None,
        "score": "copy_paste",
        "sort": "variance",
        "layers": None,
    }


def test_a_field_that_is_set_is_in_the_selection(widget):
    seen = []
    widget.observe(lambda change: seen.append(change["new"]), "selection")
    widget.step = 3
    widget.head = [2, 1]
    widget.layers = range(1, 3)
    assert [one["step"] for one in seen] == [3, 3, 3]
    assert widget.selection | {"step": 0} == {
        "step": 0,
        "head": (2, 1),
        "position": None,
        "score": "copy_paste",
        "sort": "variance",
        "layers": (1, 2),
    }


def test_a_selection_that_is_set_is_in_the_fields(widget):
    steps, whole = [], []
    widget.observe(lambda change: steps.append(change["new"]), "step")
    widget.observe(lambda change: whole.append(change["new"]), "selection")
    widget.selection = {"step": 2, "position": 30}
    assert (widget.step, widget.position, widget.head) == (2, 30, None)
    assert steps == [2] and len(whole) == 1
    widget.selection = {"position": None}
    assert (widget.step, widget.position) == (2, None)


def test_a_selection_that_was_read_can_be_changed_and_set(widget):
    widget.layers = [1, 2]
    read = widget.selection
    read["step"] = 3
    assert (widget.step, widget.selection["step"]) == (0, 0), "what was read is a copy"
    widget.selection = read
    assert (widget.step, widget.selection["step"]) == (3, 3)
    assert widget.layers == widget.selection["layers"] == (1, 2), "nothing to change in place"


def test_what_an_observer_does_to_its_selection_stays_there(widget):
    def forget(change):
        change["new"]["step"] = change["old"]["step"] = 0

    widget.observe(forget, "selection")
    widget.step = 2
    assert (widget.step, widget.selection["step"]) == (2, 2)


def test_an_observer_may_set_a_field_while_a_selection_spreads(widget):
    seen = []
    widget.observe(lambda change: setattr(widget, "step", 0), "head")
    widget.observe(lambda change: seen.append(change["new"]["step"]), "selection")
    widget.selection = {"step": 2, "head": (1, 0)}
    assert (widget.step, widget.head) == (0, (1, 0))
    assert widget.selection == widget.chosen()
    assert set(seen) == {0}, "nobody hears of a selection that is not the present one"


def test_an_observer_that_fails_leaves_selection_and_fields_together(widget):
    def fail(_change):
        raise RuntimeError("mine")

    widget.observe(fail, "head")
    with pytest.raises(RuntimeError, match="mine"):
        widget.selection = {"step": 2, "head": (1, 0), "position": 4}
    assert widget.selection == widget.chosen()


def test_heads_may_be_objects(widget):
    from retrieval_lens.heads import Head

    widget.head = Head(1, 0)
    assert widget.head == (1, 0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("step", 5, "step=5 of 5 steps; wanted 0 to 4"),
        ("step", -1, "step=-1 of 5 steps"),
        ("step", "1", "step='1'; wanted a whole number"),
        ("step", True, "step=True; wanted a whole number"),
        ("step", None, "step=None; wanted a whole number"),
        ("position", 60, "position=60 of 60 prompt tokens; wanted 0 to 59"),
        ("head", (3, 0), "no head \\(3, 0\\) among 3 layers of 2 heads"),
        ("head", 7, "head=7; wanted \\(layer, head\\) or None"),
        ("score", "x", "score='x'; wanted one of 'copy_paste'"),
        ("sort", "size", "sort='size'; wanted one of 'variance', 'mean', 'layer'"),
        ("layers", [3], "wanted one or more of 0 to 2"),
        ("layers", [], "wanted one or more of 0 to 2"),
        ("layers", 2, "layers=2; wanted whole numbers"),
        ("selection", {"step": 9}, "step=9 of 5 steps"),
        ("selection", {"steps": 1}, "no field 'steps' in a selection"),
        ("selection", 3, "selection=3; wanted a dict"),
    ],
)
def test_a_bad_choice_is_refused_and_nothing_moves(widget, field, value, message):
    widget.selection = {"step": 1, "head": (1, 0)}
    before = widget.selection
    for kind in (InputError, traitlets.TraitError):
        with pytest.raises(kind, match=message):
            setattr(widget, field, value)
    assert widget.selection == before
    assert (widget.step, widget.head, widget.position) == (1, (1, 0), None)


def test_a_bad_message_from_the_browser_moves_nothing(widget):
    with pytest.raises(InputError):
        widget.set_state({"head": [2, 1], "step": 99})
    assert (widget.step, widget.head) == (0, None)
    widget.set_state({"head": [2, 1], "step": 4})
    assert widget.selection["head"] == (2, 1) and widget.selection["step"] == 4


def test_titles_show_as_they_are_written():
    assert explore(walk(), title="a\u202eb")._meta["title"] == "a⟨U+202E⟩b"


def test_the_figures_do_without_the_widget():
    code = (
        "import sys, retrieval_lens.viz.explorer, retrieval_lens.viz.save_html;"
        "sys.exit(len({'anywidget', 'ipywidgets', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
