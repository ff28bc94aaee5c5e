import numpy as np
import pytest

from retrieval_lens import viz
from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.viz.demo import demo_trace


def test_true_above_predicted_below_moved_by_the_offset():
    trace = demo_trace()
    true = trace.scores["copy_paste"].numpy()
    guess = np.random.default_rng(0).random(true.shape)
    figure = viz.prediction(trace, guess, n_heads=2, offset=1)
    above, below = (np.asarray(one.z, float) for one in figure.data)
    heads = [tuple(map(int, h[1:].split("H"))) for h in figure.layout.yaxis.ticktext]
    for row, (layer, head) in enumerate(heads):
        assert above[row].tolist() == true[:, layer, head].tolist()
        assert np.isnan(below[row, 0])
        assert below[row, 1:].tolist() == guess[:-1, layer, head].tolist()
    assert figure.layout.coloraxis.cmax >= 1 and "1 step earlier" in str(figure.layout.title)


def test_heads_that_are_named_are_drawn_in_their_order():
    trace = demo_trace()
    figure = viz.prediction(trace, trace.scores["reasoning"], "reasoning", heads=[(3, 2), (0, 0)])
    assert list(figure.layout.yaxis.ticktext) == ["L3H2", "L0H0"]
    assert list(figure.layout.yaxis2.ticktext) == ["L3H2", "L0H0"]


def test_text_of_tokens_is_escaped():
    trace = demo_trace()
    figure = viz.prediction(trace, trace.scores["copy_paste"], n_heads=1)
    assert not any(
        "<script" in text for one in figure.data for row in one.hovertext for text in row
    )
    assert len(figure.layout.xaxis2.ticktext) == len(trace.str_tokens)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"predicted": np.zeros((2, 2))}, InputError, r"predicted has shape \(2, 2\), the trace's"),
        ({"offset": -1}, InputError, "offset lies between 0 and"),
        ({"offset": 99}, InputError, "offset lies between 0 and"),
        ({"score": "wu"}, UnknownNameError, "wu"),
        ({"heads": [(99, 0)]}, InputError, "99"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, error, message):
    trace = demo_trace()
    given = {"predicted": trace.scores["copy_paste"]} | options
    with pytest.raises(error, match=message):
        viz.prediction(trace, **given)
