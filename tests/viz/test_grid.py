import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.viz import curves, grid
from retrieval_lens.viz.style import DARK
from retrieval_lens.viz.summary import summarise


def runs(**columns) -> pd.DataFrame:
    base = {"condition": "none", "n_tokens": 100, "depth": 0.5, "exact": 1.0}
    return pd.DataFrame({**base, **columns})


def test_one_panel_a_condition_with_depth_down_and_length_across():
    frame = pd.DataFrame(
        [
            ("none", 200, 0.0, 0.1),
            ("none", 100, 0.0, 0.2),
            ("none", 100, 1.0, 0.3),
            ("dynamic", 200, 1.0, 0.4),
        ],
        columns=["condition", "n_tokens", "depth", "answer_chars"],
    )
    figure = grid(frame, "answer_chars")
    none, dynamic = (np.asarray(trace.z) for trace in figure.data)
    nan = math.nan
    np.testing.assert_array_equal(none, [[0.2, 0.1], [0.3, nan]])
    np.testing.assert_array_equal(dynamic, [[nan, nan], [nan, 0.4]])
    assert [note.text for note in figure.layout.annotations] == ["none", "dynamic"]
    assert figure.layout.xaxis.ticktext == ("100", "200")
    assert figure.layout.yaxis.ticktext == ("0", "1")
    assert figure.layout.yaxis.autorange == "reversed"


def test_all_panels_share_one_scale_which_for_shares_goes_to_one():
    frame = runs(condition=["a", "b"], exact=[0.25, 0.5], nats=[-2.0, 1.0])
    figure = grid(frame)
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    signed = grid(frame, "nats").layout.coloraxis
    assert (signed.cmin, signed.cmax) == (-2, 2), "white is zero"


def test_a_condition_with_several_k_has_a_panel_for_each():
    frame = runs(condition=["static_k", "static_k", "none"], k=pd.array([5, 10, None], "Int64"))
    titles = [note.text for note in grid(frame).layout.annotations]
    assert titles == ["static_k, k = 5", "static_k, k = 10", "none"]


def test_draws_of_one_example_count_as_one():
    frame = runs(example_id=["a", "a", "a", "b"], exact=[1.0, 1.0, 1.0, 0.0])
    trace = grid(frame).data[0]
    assert trace.z.tolist() == [[0.5]]
    assert "2 examples" in trace.hovertext[0][0]


def test_the_hover_has_wilson_s_interval():
    """3 of 4: centre (3 + z²/2)/(4 + z²), z = 1.96: 0.301 to 0.954."""
    frame = runs(example_id=list("abcd"), exact=[1.0, 1.0, 1.0, 0.0])
    assert "<b>exact 0.75</b> [0.301, 0.954]" in grid(frame).data[0].hovertext[0][0]


def test_numbers_are_bootstrapped_over_examples():
    values = np.random.default_rng(1).normal(size=40)
    found = summarise(pd.DataFrame({"a": 1, "m": values}), ["a"], "m").iloc[0]
    expected = bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    assert found["mean"] == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.low, abs=0.03)
    assert found.high == pytest.approx(expected.high, abs=0.03)


def test_the_bootstrap_keeps_to_haystacks():
    """Within each haystack every example is alike, so nothing varies."""
    frame = pd.DataFrame(
        {"a": 1, "m": [2.0] * 5 + [9.0] * 5, "haystack": ["x"] * 5 + ["y"] * 5}
    ).assign(example_id=range(10))
    found = summarise(frame, ["a"], "m").iloc[0]
    assert (found.low, found["mean"], found.high) == (5.5, 5.5, 5.5)
    spread = summarise(frame.drop(columns="haystack"), ["a"], "m").iloc[0]
    assert spread.low < 5 < 6 < spread.high


def test_a_single_example_has_no_interval():
    found = summarise(pd.DataFrame({"a": [1], "m": [0.3]}), ["a"], "m").iloc[0]
    assert math.isnan(found.low) and math.isnan(found.high) and found.n == 1


def test_pale_cells_have_few_valid_examples():
    frame = runs(depth=[0.0, 1.0], valid=[1.0, 0.2])
    _, veil = grid(frame, opacity="valid").data
    assert veil.z.flatten().tolist() == [0.0, pytest.approx(0.85 * 0.8)]
    with pytest.raises(InputError, match="'valid' holds shares from 0 to 1"):
        grid(runs(depth=[0.0, 1.0], valid=[1.0, 20]), opacity="valid")


def test_numbers_of_pale_cells_are_dark():
    frame = runs(depth=[0.0, 1.0], valid=[1.0, 0.2], exact=[1.0, 0.0])
    heat, veil = grid(frame, opacity="valid").data
    assert heat.text.tolist() == [["1.00"], [""]] and veil.text.tolist() == [[""], ["0.00"]]
    assert veil.textfont.color == DARK and heat.textfont.color is None


def test_cells_with_few_examples_are_pale():
    frame = runs(depth=[0.0, 0.0, 1.0, None], example_id=["a", "b", "c", "d"])
    values, veil = grid(frame, opacity="examples").data
    assert np.shape(values.z) == (2, 1), "a row without a depth has no place"
    np.testing.assert_allclose(veil.z, [[0.0], [0.85 / 2]])


def test_rows_without_a_number_are_left_out():
    frame = runs(depth=[0.0, 1.0, 1.0], exact=[1.0, None, 0.0])
    assert grid(frame).data[0].z.tolist() == [[1.0], [0.0]]


def test_text_of_the_caller_shows_as_text():
    figure = grid(runs(condition=["<b>"]), title="<i>", colour_bar="a<b")
    assert figure.layout.annotations[0].text == "&lt;b&gt;"
    assert figure.layout.title.text == "&lt;i&gt;"
    assert figure.layout.coloraxis.colorbar.title.text == "a&lt;b"


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UnknownNameError, match="no column 'exakt'; it has: condition, n_tokens"):
        grid(runs(exact=[1.0]), "exakt")
    with pytest.raises(InputError, match="no row has a number in column 'exact'"):
        grid(runs(exact=[math.nan]))


def test_more_than_four_panels_take_another_row_and_each_column_has_its_ticks():
    figure = grid(runs(condition=list("abcdef")))
    shown = [figure.layout[f"xaxis{i or ''}"].showticklabels for i in ("", 2, 3, 4, 5, 6)]
    assert shown == [False, False, True, True, True, True]


def test_only_shares_have_wilsons_interval():
    frame = runs(exact=[0.0] * 5, nats=[0.0] * 5, example_id=list("abcde"))
    assert summarise(frame, ["depth"], "exact").high.item() > 0.4
    nats = summarise(frame, ["depth"], "nats")
    assert (nats.low.item(), nats.high.item()) == (0, 0)


def test_a_haystack_with_one_example_is_drawn_with_the_others():
    frame = runs(nats=[0.0, 1.0, 5.0], example_id=list("abc"), haystack=["x", "y", "z"])
    found = summarise(frame, ["depth"], "nats")
    assert found.low.item() < found["mean"].item() < found.high.item()


def test_the_same_prompt_under_two_models_is_two_examples():
    frame = runs(nats=[0.0, 1.0], example_id=["a", "a"], model=["m", "n"])
    assert summarise(frame, ["depth"], "nats").n.item() == 2


def test_layouts_of_one_question_count_as_one():
    """6 questions in 8 layouts have the interval of 6 examples."""
    values = np.random.default_rng(2).normal(size=6)
    six = runs(nats=values, example_id=[f"e{i}" for i in range(6)])
    layouts = pd.concat(
        [six.assign(example_id=six.example_id + f"@{i}", question_id=range(6)) for i in range(8)]
    )
    alone, found = (summarise(frame, ["depth"], "nats") for frame in (six, layouts))
    assert found.n.item() == 6
    for column in ("mean", "low", "high"):
        assert found[column].item() == pytest.approx(alone[column].item())
    counted = summarise(layouts.drop(columns="question_id"), ["depth"], "nats")
    assert counted.n.item() == 48
    assert counted.high.item() - counted.low.item() < 0.6 * (found.high - found.low).item()


def test_rows_without_a_question_are_examples():
    frame = runs(nats=[0.0, 2.0, 3.0, 5.0, 7.0], example_id=list("aabcc"))
    some = frame.assign(question_id=["q", "q", "q", None, None])
    # q: 0, 2, 3; example c: 5, 7
    found = summarise(some, ["depth"], "nats")
    assert found.n.item() == 2 and found["mean"].item() == pytest.approx((5 / 3 + 6) / 2)
    rows = summarise(some.drop(columns="example_id"), ["depth"], "nats")
    assert rows.n.item() == 3 and rows["mean"].item() == pytest.approx((5 / 3 + 5 + 7) / 3)
    none = summarise(frame.assign(question_id=None), ["depth"], "nats")
    assert none.equals(summarise(frame, ["depth"], "nats")) and none.n.item() == 3


def test_examples_without_questions_keep_their_draws():
    """The numbers of a version that knew no questions."""
    frame = runs(nats=np.arange(6) ** 1.5, example_id=list("abcdef"), haystack=list("xxyyyy"))
    found = summarise(frame, ["depth"], "nats")
    assert (found.low.item(), found.high.item()) == (2.7475468957064284, 6.726779962499649)


def test_chance_level_and_lift_stand_below_the_title():
    frame = runs(depth=[0.0, 1.0], chance=[0.1, 0.2], active_lift=[3.0, 5.0], k=[1, 2])
    wanted = "chance level 0.15, lift of active heads 4"
    assert wanted in grid(frame).layout.title.subtitle.text.replace("<br>", " ")
    assert wanted in curves(frame, y="exact").layout.title.subtitle.text
    assert "chance" not in grid(runs(chance=[None], active_lift=[None])).layout.title.subtitle.text
