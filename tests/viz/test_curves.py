import math

import pandas as pd
import pytest

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.viz import curves


def lines(figure):
    return {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}


RUNS = pd.DataFrame(
    {
        "condition": ["dynamic_k"] * 4 + ["random_k"] * 4 + ["none"],
        "k": pd.array([5, 5, 0, 0, 0, 0, 5, 5, None], "Int64"),
        "example_id": ["a", "b"] * 4 + ["a"],
        "exact": [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0],
        "compensated_overlap": [4, 6, 0, 0, *[None] * 5],
    }
)


def test_a_table_of_runs_gives_figure_3():
    figure = curves(RUNS)
    found = lines(figure)
    assert list(found) == ["dynamic_k, exact", "dynamic_k, compensated_overlap", "random_k, exact"]
    exact, overlap, random = found.values()
    assert (list(exact.x), list(exact.y), exact.yaxis) == ([0, 5], [1, 0], "y")
    assert (list(overlap.y), overlap.yaxis, overlap.line.dash) == ([0, 5], "y2", "dash")
    assert list(random.y) == [1, 0.5]
    assert exact.line.color == overlap.line.color != random.line.color
    assert figure.layout.yaxis2.side == "right"
    assert figure.layout.yaxis2.title.text == "compensated_overlap"


def test_the_band_is_wilson_s_interval_of_the_examples():
    """1 of 2: 0.0945 to 0.9055."""
    band = curves(RUNS, y="exact").data[2]
    assert list(band.x) == [0, 5, 5, 0]
    assert band.y[1] == pytest.approx(0.9055, abs=1e-4)
    assert band.y[2] == pytest.approx(0.0945, abs=1e-4)
    assert band.mode == "lines", "no markers on the edges"


def test_draws_of_one_example_count_as_one():
    frame = pd.DataFrame({"k": 1, "example_id": ["a", "a", "b"], "m": [0.0, 1.0, 2.0]})
    assert list(curves(frame, y="m", series=None).data[1].y) == [1.25]


def test_points_with_given_bands_are_drawn_as_they_are():
    frame = pd.DataFrame({"x": [2, 1], "m": [0.5, 0.75], "a": [0.25, 0.5], "b": [1.0, 0.875]})
    band, line = curves(frame, "x", "m", series=None, low="a", high="b").data
    assert list(line.x) == [1, 2] and list(line.y) == [0.75, 0.5]
    assert list(band.y) == [0.875, 1.0, 0.25, 0.5]
    assert line.name == "m"


def test_a_point_without_an_interval_has_no_band():
    frame = pd.DataFrame({"x": [1, 2], "m": 0.5, "a": [0.25, math.nan], "b": [1.0, math.nan]})
    band, line = curves(frame, "x", "m", series=None, low="a", high="b").data
    assert list(band.x) == [1, 1] and list(line.x) == [1, 2]


def test_one_series_has_a_colour_for_each_measure():
    frame = RUNS[RUNS.condition == "dynamic_k"]
    exact, overlap = lines(curves(frame)).values()
    assert exact.line.color != overlap.line.color


def test_text_shows_as_text():
    frame = RUNS.assign(condition="<b>")
    assert list(lines(curves(frame, y="exact"))) == ["&lt;b&gt;"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"y": "accuracy"}, UnknownNameError, "no column 'accuracy'; it has: condition, k"),
        ({"y": ()}, InputError, "y is one measure or two"),
        ({"y": "exact", "low": "exact"}, InputError, "low= and high= together"),
        ({"low": "exact", "high": "exact"}, InputError, "with one measure y"),
        ({"y": "exact", "low": "exact", "high": "exact"}, InputError, "two points at one 'k'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        curves(RUNS, **options)


def test_rows_without_k_are_no_curve():
    with pytest.raises(InputError, match="nothing to draw: no row has both 'k'"):
        curves(RUNS[RUNS.condition == "none"])
