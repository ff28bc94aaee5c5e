import math

import numpy as np
import pandas as pd
import pytest
import torch

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.viz import head_map
from tests.viz.fake_trace import fake_trace

NUMBERS = [[0.0, 0.25, 1.0], [0.5, 0.75, 0.125]]


def trace_of(rows: list[list[float]]):
    """One layer of two heads, a row a step."""
    scores = torch.tensor(rows)[:, None, :]
    return fake_trace(("a", "b"), ("x",) * len(rows), {"copy_paste": scores})


@pytest.mark.parametrize("container", [list, np.array, torch.tensor])
def test_numbers_of_any_container_are_drawn_layer_by_head(container):
    figure = head_map(container(NUMBERS))
    assert figure.data[0].z.tolist() == NUMBERS
    assert figure.layout.yaxis.autorange == "reversed", "layer 0 stands on top"
    assert figure.data[0].hovertext[1][2] == "<b>L1H2</b><br>value 0.125"


def test_a_trace_is_drawn_as_the_mean_over_its_steps():
    figure = head_map(trace_of([[1, 0], [1, 1], [0, 0], [1, 0]]))
    assert figure.data[0].z.tolist() == [[0.75, 0.25]]
    subtitle = "mean over 4 decode steps · chance level 0.05 on average"
    assert figure.layout.title.subtitle.text == subtitle


def test_traces_are_pooled_by_step_not_by_trace():
    figure = head_map([trace_of([[1, 0], [1, 0], [1, 0]]), trace_of([[0, 0]])])
    assert figure.data[0].z.tolist() == [[0.75, 0.0]]
    assert figure.data[0].colorbar.title.text == "mean copy_paste score"


def test_cells_without_a_number_stay_blank_on_grey_and_the_figure_says_so():
    figure = head_map([[0.5, math.nan]])
    assert np.isnan(figure.data[0].z[0, 1]) and figure.data[0].hoverongaps is False
    assert figure.layout.plot_bgcolor != "#ffffff"
    assert figure.layout.title.subtitle.text == "grey: no value"
    assert figure.data[0].zmax == 0.5


def test_white_is_zero_whatever_the_sign():
    positive, signed = head_map([[0.0, 2.0]]).data[0], head_map([[-3.0, 2.0]]).data[0]
    assert (positive.zmin, positive.zmax, positive.colorscale[0][1]) == (0, 2, "#ffffff")
    assert (signed.zmin, signed.zmax, signed.colorscale[2]) == (-3, 3, (0.5, "#ffffff"))
    assert head_map([[0.0, 0.0]]).data[0].zmax == 1
    assert head_map([[math.nan]]).data[0].zmax == 1


def test_labels_and_size_are_the_callers_to_set():
    figure = head_map(
        NUMBERS, title="<i>", colour_bar="KL, <nats>", template="ggplot2", width=333, height=222
    )
    assert figure.layout.title.text == "&lt;i&gt;"
    assert figure.data[0].colorbar.title.text == "KL, &lt;nats&gt;"
    assert "KL, &lt;nats&gt; 0.25" in figure.data[0].hovertext[0][1]
    assert (figure.layout.width, figure.layout.height) == (333, 222)


@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0], [[[1.0]]], [[1.0], [2.0, 3.0]], [], [["a"]], 3.0, None, [[math.inf]], "text"],
)
def test_anything_but_a_matrix_of_numbers_is_refused(values):
    with pytest.raises(InputError, match=r"\[layer, head\]|infinite"):
        head_map(values)


def test_traces_of_different_models_are_refused():
    other = fake_trace(("a", "b"), ("x",), {"copy_paste": torch.zeros(1, 2, 2)})
    with pytest.raises(InputError, match="different models"):
        head_map([trace_of([[0, 0]]), other])


def test_an_unknown_score_lists_the_known():
    with pytest.raises(UnknownNameError, match="'copy_paste'"):
        head_map(trace_of([[0, 0]]), score="wu")


def test_a_head_set_is_drawn_in_place():
    import retrieval_lens as rl

    shape = {"model": {"n_layers": 3, "n_heads": 2}, "detector": "mean <b>"}
    static = rl.HeadSet(["L2H1", "L0H0"], [0.9, 0.25], provenance=shape)
    figure = rl.viz.head_map(static)
    drawn = figure.data[0].z
    assert drawn.shape == (3, 2)
    assert drawn[2, 1] == 0.9 and drawn[0, 0] == 0.25
    assert np.isnan(drawn).sum() == 4
    assert "<b>" not in figure.layout.title.text.replace("<br>", "")
    assert rl.viz.head_map(rl.HeadSet(["L1H3"])).data[0].z.shape == (2, 4)
    with pytest.raises(InputError, match="empty"):
        rl.viz.head_map(rl.HeadSet())


def test_a_table_with_one_row_a_head():
    table = pd.DataFrame({"layer": [1, 0], "head": [0, 2], "f1": [0.5, 0.25], "auprc": [1.0, 0.0]})
    figure = head_map(table, score="f1")
    assert np.array_equal(
        figure.data[0].z, [[np.nan, np.nan, 0.25], [0.5, np.nan, np.nan]], equal_nan=True
    )
    assert "f1 of each head" in figure.layout.title.text
    with pytest.raises(UnknownNameError, match="no column 'recall'; it has: layer, head, f1"):
        head_map(table, score="recall")
    with pytest.raises(InputError, match="wanted one row a head"):
        head_map(pd.concat([table, table]), score="f1")
    with pytest.raises(InputError, match="no row"):
        head_map(table[:0], score="f1")


def test_a_title_of_two_lines_has_room_above():
    one, two = (head_map(NUMBERS, title=text, width=600) for text in ("short", "long words " * 12))
    assert "<br>" in two.layout.title.text
    assert two.layout.title.pad.t > one.layout.title.pad.t
