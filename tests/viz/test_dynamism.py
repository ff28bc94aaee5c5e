"""The figures of dynamism: every number that they draw is one of the frame."""

import numpy as np
import pandas as pd
import pytest

from retrieval_lens.analysis import dynamism, test_retest, unique_heads_curve
from retrieval_lens.errors import InputError
from retrieval_lens.heads import HeadSet
from retrieval_lens.viz import dynamism as draw
from retrieval_lens.viz import overlap, unique_heads
from tests.analysis.by_hand import bernoulli_sets, pick, sets, value

RANKING = HeadSet([divmod(i, 8) for i in range(48)])


@pytest.fixture(scope="module")
def frame():
    some_empty = bernoulli_sets(6, 12, sharpness=30)
    return dynamism(some_empty, RANKING, ks=(5, 20), n_resamples=30)


def named(figure):
    return {trace.name: trace for trace in figure.data}


def test_measured_values_stand_beside_their_nulls(frame):
    figure = draw(frame)
    traces = named(figure)
    top = "Jaccard of<br>neighbouring steps"
    at = dict(zip(figure.layout.yaxis.ticktext, figure.layout.yaxis.tickvals, strict=True))
    assert list(at)[0] == top and at[top] == max(at.values())
    for name, empty in (("empty steps counted", "count"), ("empty steps left out", "skip")):
        row = pick(frame, "adjacent_jaccard", empty=empty)
        dots = traces[name]
        assert dots.x[0] == row.value
        assert dots.x[0] + dots.error_x.array[0] == pytest.approx(row.high)
        assert dots.x[0] - dots.error_x.arrayminus[0] == pytest.approx(row.low)
    for name, null in (("steps shuffled", "shuffled"), ("independent heads", "bernoulli")):
        marks = traces[f"chance: {name}"]
        assert marks.x[0] == value(frame, "adjacent_jaccard", empty="count", null=null)
        assert marks.y[0] == traces["empty steps counted"].y[0]
    assert traces["ceiling"].x[0] == value(frame, "jaccard_ceiling", 5, "count")
    assert value(frame, "coverage", 20) in traces["empty steps left out"].x


def test_what_has_no_place_on_the_axis_is_said(frame):
    said = draw(frame).layout.title.subtitle.text.replace("<br>", " ")
    assert f"{value(frame, 'unique_heads'):.0f} of 48 heads ever active" in said
    assert f"effective heads {value(frame, 'effective_heads', empty='count'):.2f}" in said


def test_retest_gets_a_row_of_its_own(frame):
    rows = [
        sets([[0], [0, 1]], "a", "coast", tokens=[1, 2]),
        sets([[0], [1]], "b", "essays", tokens=[1, 2]),
    ]
    both = pd.concat([frame, test_retest(rows[:1], rows[1:])])
    assert "another haystack" in draw(both).layout.yaxis.ticktext[1]
    assert value(both, "retest_jaccard", empty="count") in draw(both).data[0].x


def test_overlap_is_drawn_against_k(frame):
    assert value(frame, "empty_share") > 0
    traces = named(overlap(frame, empty="skip"))
    assert traces["Jaccard of D and S"].x == (5, 20)
    for name, statistic, empty in (
        ("Jaccard of D and S", "jaccard_static", "skip"),
        ("ceiling of the Jaccard", "jaccard_ceiling", "skip"),
        ("precision |D∩S| / |S|", "precision", "skip"),
        ("coverage |D∩S| / |D|", "coverage", None),
        ("overlap above chance", "chance_corrected", None),
    ):
        assert list(traces[name].y) == [value(frame, statistic, k, empty) for k in (5, 20)]


def test_values_below_zero_stay_in_the_picture():
    # a static head that is never active: below what chance gives
    never = dynamism([sets([[1]] * 3), sets([[2]] * 3, "b")], HeadSet([(0, 0)]), ks=(1,))
    least = value(never, "chance_corrected", 1)
    assert least < 0 and overlap(never).layout.yaxis.range[0] < least


def test_the_curve_and_its_band():
    curve = unique_heads_curve(bernoulli_sets(5, 10))
    figure = unique_heads(curve)
    assert np.array_equal(named(figure)["mean"].y, curve.value)
    assert np.array_equal(figure.data[0].y, curve.high)
    assert np.array_equal(figure.data[1].y, curve.low)
    last = curve.iloc[-1]
    assert f"{last.value:.0f} of 48 heads" in figure.layout.title.subtitle.text


@pytest.mark.parametrize("plot", [draw, overlap])
def test_titles_template_and_size_are_the_callers(frame, plot):
    figure = plot(frame, title="<i>", template="plotly_dark", width=500, height=400)
    assert figure.layout.title.text == "&lt;i&gt;"
    assert (figure.layout.width, figure.layout.height) == (500, 400)
    assert figure.layout.template.layout.paper_bgcolor == "rgb(17,17,17)"


def test_one_example_is_drawn_without_intervals():
    frame = dynamism(sets([[0], [0, 1]]), HeadSet([(0, 0)]), ks=(1,))
    dots = named(draw(frame))["empty steps counted"]
    assert dots.x[0] == 0.5 and np.isnan(dots.error_x.array[0])


def test_frames_without_what_is_drawn_are_refused(frame):
    without = dynamism(bernoulli_sets(2, 5), n_resamples=5)
    with pytest.raises(InputError, match="no static heads"):
        overlap(without)
    with pytest.raises(InputError, match="wanted 'count' or 'skip'"):
        overlap(frame, empty="both")
    with pytest.raises(InputError, match="no adjacent_jaccard"):
        draw(frame[frame.statistic == "entropy"])
    for plot in (draw, overlap, unique_heads):
        with pytest.raises(InputError, match="lacks the columns"):
            plot(frame.drop(columns=["value"]))
        with pytest.raises(InputError, match="wanted a DataFrame, received list"):
            plot([])
    with pytest.raises(InputError, match="has no row"):
        draw(frame.head(0))
