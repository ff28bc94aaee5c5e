import math

import numpy as np
import pytest
import torch

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.viz import timeline
from retrieval_lens.viz.timeline import varied_heads
from tests.viz.fake_trace import FakeTrace, fake_trace, uuid_trace

PROMPT = ("Q", " key", "?")


def copying(on: dict[tuple[int, int], tuple[int, ...]], n_steps: int = 4, **more) -> FakeTrace:
    """Two layers of three heads; each named head scores 1 at its steps."""
    scores = torch.zeros(n_steps, 2, 3)
    for (layer, head), steps in on.items():
        scores[list(steps), layer, head] = 1.0
    response = tuple("abcdefgh"[:n_steps])
    return fake_trace(PROMPT, response, {"copy_paste": scores}, **more)


def names(figure) -> list[str]:
    return list(figure.layout.yaxis.ticktext)


def test_rows_are_the_heads_of_largest_variance_largest_on_top():
    # variances: always on 0, one of four 3/16, two of four 4/16
    trace = copying({(0, 0): (0, 1, 2, 3), (0, 2): (3,), (1, 1): (0, 1)})
    figure = timeline(trace, n_heads=2)
    assert names(figure) == ["L1H1", "L0H2"]
    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.data[0].z.tolist() == [[1, 1, 0, 0], [0, 0, 0, 1]]


def test_equal_variances_are_ordered_by_layer_then_head():
    trace = copying({(1, 2): (0,), (0, 1): (3,), (1, 0): (1,)})
    assert names(timeline(trace)) == ["L0H1", "L1H0", "L1H2", "L0H0", "L0H2", "L1H1"]


def test_ties_among_many_heads_keep_layer_then_head():
    scores = np.zeros((2, 30, 9))
    scores[0, 20, 3] = 1
    first = [(20, 3), *((0, head) for head in range(9))]
    assert varied_heads(scores, 10) == first


def test_rounding_does_not_order_heads_of_the_same_numbers():
    scores = np.zeros((4, 1, 2))
    scores[:, 0, 0], scores[:, 0, 1] = (0.1, 0.7, 0.3, 0.2), (0.1, 0.7, 0.2, 0.3)
    variance = scores.var(axis=0)[0]
    assert variance[1] > variance[0], "pick other numbers: these do not round apart"
    assert varied_heads(scores, 2) == [(0, 0), (0, 1)]


def test_named_heads_are_drawn_in_their_order():
    trace = copying({(1, 1): (0,)})
    figure = timeline(trace, heads=[(1, 0), (1, 1)])
    assert names(figure) == ["L1H0", "L1H1"]
    assert figure.data[0].z.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]


def test_repeated_tokens_keep_a_column_each():
    scores = {"copy_paste": torch.eye(3).reshape(3, 1, 3)}
    figure = timeline(fake_trace(PROMPT, (" a", "a", "a"), scores))
    assert list(figure.layout.xaxis.ticktext) == ["␣a", "a", "a"]
    assert list(figure.layout.xaxis.tickvals) == [0, 1, 2]
    assert figure.data[0].z.shape == (3, 3)


def test_a_cell_tells_head_step_token_score_and_the_most_attended_token():
    tops = {(0, 1, 1): [(1, 0.75), (0, 0.2)], (2, 1, 1): [(4, 0.5)]}
    figure = timeline(copying({(1, 1): (0, 2)}, tops=tops), n_heads=1)
    first, second, third, _ = figure.data[0].hovertext[0]
    for part in ("L1H1", "step 0", "generates a", "copy_paste 1", "␣key (position 1, evidence)"):
        assert part in first
    assert "attention 0.75" in first and "active above 0.5" in first and "chance 0.05" in first
    assert "copy_paste 0" in second and "not recorded" in second
    # position 4 is past the three prompt tokens: the second generated one
    assert "generates c" in third and "looks at b (position 4), attention 0.50" in third


def test_binary_scores_are_dark_on_white_and_need_no_bar():
    heat = timeline(copying({(1, 1): (0,)})).data[0]
    assert heat.showscale is False and (heat.zmin, heat.zmax) == (0, 1)
    assert heat.colorscale == ((0.0, "#ffffff"), (1.0, "#12365c"))


def test_continuous_scores_get_a_bar_and_their_chance_level():
    scores = {"reasoning": torch.tensor([[[0.0, 0.25]], [[0.5, 0.0]]])}
    figure = timeline(fake_trace(PROMPT, ("a", "b"), scores, chance=0.125), "reasoning")
    heat = figure.data[0]
    assert heat.showscale is None and heat.colorbar.title.text == "reasoning score"
    assert (heat.zmin, heat.zmax) == (0, 0.5)
    assert "chance level 0.12 on average" in figure.layout.title.subtitle.text


def test_scores_below_their_threshold_never_get_the_darkest_colour():
    scores = {"reasoning": torch.tensor([[[0.0, 0.01]]])}
    assert timeline(fake_trace(PROMPT, ("a",), scores), "reasoning").data[0].zmax == 0.5


def test_a_meaningless_chance_level_is_not_told():
    scores = {"reasoning": torch.tensor([[[0.0, 0.25]]])}
    figure = timeline(fake_trace(PROMPT, ("a",), scores, chance=math.nan), "reasoning")
    assert "chance" not in figure.layout.title.subtitle.text
    assert "chance" not in figure.data[0].hovertext[0][0]


def test_a_truncated_generation_is_told():
    assert "cut" in timeline(copying({}, truncated=True)).layout.title.subtitle.text
    assert "cut" not in timeline(copying({})).layout.title.subtitle.text


def test_size_title_and_template_are_the_callers_to_set():
    figure = timeline(copying({}), title="a <b>", template="plotly_dark", width=500, height=300)
    assert figure.layout.title.text == "a &lt;b&gt;"
    assert (figure.layout.width, figure.layout.height) == (500, 300)
    assert figure.layout.template.layout.paper_bgcolor == "rgb(17,17,17)"


def test_many_steps_widen_the_figure_and_few_leave_it_to_the_page():
    assert timeline(uuid_trace(n_prompt=200)).layout.width is None
    scores = {"copy_paste": torch.zeros(100, 1, 2)}
    assert timeline(fake_trace(PROMPT, ("a",) * 100, scores)).layout.width >= 1600


def test_scores_that_need_gradients_or_half_precision_are_drawn():
    scores = {"copy_paste": torch.ones(1, 1, 1, dtype=torch.bfloat16, requires_grad=True)}
    assert timeline(fake_trace(PROMPT, ("a",), scores)).data[0].z.tolist() == [[1.0]]


def test_an_unknown_score_lists_the_known():
    with pytest.raises(UnknownNameError, match="'copy'.*'copy_paste'"):
        timeline(copying({}), "copy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_heads": 0}, "n_heads=0"),
        ({"heads": [(2, 0)]}, r"no head \(2, 0\) in a trace of 2 layers of 3 heads"),
        ({"heads": [(0, 3)]}, "no head"),
        ({"heads": [(0, -1)]}, "no head"),
        ({"heads": [7]}, "received 7 as a head"),
        ({"heads": [(0, 1, 2)]}, "as a head"),
        ({"heads": [(0.5, 1)]}, "as a head"),
        ({"heads": []}, "received no head"),
    ],
)
def test_impossible_heads_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        timeline(copying({}), **arguments)


def test_a_trace_without_steps_is_refused():
    empty = fake_trace(PROMPT, (), {"copy_paste": torch.zeros(0, 2, 3)})
    with pytest.raises(InputError, match="no decode step"):
        timeline(empty)
