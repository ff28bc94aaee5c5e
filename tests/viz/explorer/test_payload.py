from dataclasses import replace

import numpy as np
import pytest
import torch

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.viz.explorer import explore
from retrieval_lens.viz.explorer.palette import scale
from retrieval_lens.viz.explorer.payload import Buffer, pack, row_orders
from retrieval_lens.viz.timeline import varied_heads
from tests.viz.explorer.pages import numpy_trace, walk
from tests.viz.fake_trace import fake_trace, uuid_trace


def array(data: bytes, place) -> np.ndarray:
    """What the browser reads: elements of a type from an offset on."""
    kind, offset, length = place
    return np.frombuffer(data, dtype=np.dtype(kind).newbyteorder("<"), count=length, offset=offset)


def test_a_trace_written_out_by_hand():
    scores = torch.tensor([[[0.0, 1.0]], [[0.0, 0.5]]])
    tops = {(0, 0, 1): [(2, 0.75), (0, 0.125)], (1, 0, 0): [(3, 0.5)]}
    trace = fake_trace(("Q", " a\n", "?"), ("x", " y"), {"copy_paste": scores}, (1,), tops, m=2)
    meta, data = pack([trace], ["one"])
    told = meta["traces"][0]
    assert meta["prompt"] == ["Q", " a⏎", "?"] and told["tokens"] == ["x", " y"]
    assert (meta["n_layers"], meta["n_heads"], meta["m"]) == (1, 2, 2)
    assert array(data, told["scores"][0]).tolist() == [0, 1, 0, 0.5]
    assert array(data, told["active"][0]).tolist() == [0, 1, 0, 0], "at its threshold is not above"
    assert array(data, told["positions"]).tolist() == [-1, -1, 2, 0, 3, -1, -1, -1]
    assert array(data, told["weights"]).tolist() == [0, 0, 0.75, 0.125, 0.5, 0, 0, 0]
    assert array(data, told["thresholds"][0]).tolist() == [0.5, 0.5]
    assert array(data, meta["prompt_ids"]).tolist() == [0, 1, 2]


def test_numbers_come_back_as_they_were():
    trace = uuid_trace(n_prompt=200, n_layers=3, n_heads=4)
    meta, data = pack([trace], ["one"])
    told = meta["traces"][0]
    shape = tuple(trace.top_positions.shape)
    assert (array(data, told["positions"]).reshape(shape) == trace.top_positions.numpy()).all()
    assert (array(data, told["weights"]).reshape(shape) == trace.top_weights.numpy()).all()
    for index, name in enumerate(meta["scores"]):
        values = trace.scores[name]
        active = values > trace.thresholds[name].view(-1, 1, 1)
        assert (array(data, told["scores"][index]) == values.numpy().ravel()).all()
        assert (array(data, told["active"][index]) == active.numpy().ravel()).all()


@pytest.mark.parametrize(("n_prompt", "kind"), [(2**15 - 6, "int16"), (2**15 - 5, "int32")])
def test_long_prompts_keep_their_positions(n_prompt, kind):
    # the last position of five steps is n_prompt + 3; both must fit
    meta, data = pack([walk(n_prompt)], ["one"])
    place = meta["traces"][0]["positions"]
    assert place[0] == kind and array(data, place).max() == n_prompt + 3


def test_arrays_start_where_a_browser_can_read_them():
    buffer = Buffer()
    places = [buffer.add(np.arange(n, dtype=kind)) for n, kind in [(3, "u1"), (5, "f4"), (1, "i2")]]
    assert [offset % 8 for _, offset, _ in places] == [0, 0, 0]
    read = [array(buffer.data(), place).tolist() for place in places]
    assert read == [[0, 1, 2], list(range(5)), [0]]


def test_rows_are_ordered_as_in_the_timeline():
    scores = uuid_trace(n_prompt=100).scores["reasoning"].double().numpy()
    by_variance = row_orders(scores)["variance"]
    assert [(int(i) // 9, int(i) % 9) for i in by_variance] == varied_heads(scores, 270)
    by_mean = row_orders(scores)["mean"]
    assert (np.diff(scores.mean(axis=0).ravel()[by_mean]) <= 1e-12).all()


def test_a_step_that_is_not_scored_does_not_move_a_row():
    scores = np.array([[[0.0, 0.5, 0.1]], [[1.0, 0.5, 0.2]], [[0.0, 0.5, 0.3]]])
    wanted = {name: order.tolist() for name, order in row_orders(scores).items()}
    more = np.concatenate([scores, np.full((1, 1, 3), np.nan)])
    assert {name: order.tolist() for name, order in row_orders(more).items()} == wanted
    never = scores.copy()
    never[:, 0, 0] = np.nan
    assert row_orders(never)["variance"].tolist() == [2, 1, 0]


def test_scales_are_shared_and_orange_is_negative():
    low, high = walk(), walk()
    high.scores["copy_paste"].mul_(3)
    assert pack([low, high], ["a", "b"])[0]["scales"][0]["high"] == 3
    assert pack([low], ["a"])[0]["scales"][0]["high"] == 1
    assert scale(-0.5, 0.1)["low"] == -0.5 and scale(-0.5, 0.1)["high"] == 0.5


def test_plain_arrays_do():
    assert len(pack([numpy_trace()], ["a"])[1]) > 0


def test_half_characters_and_marks_are_spelled():
    trace = fake_trace(("\ud83d", "\u202e"), ("\udc00",), {"s": torch.zeros(1, 1, 1)})
    meta, _ = pack([trace], ["a"])
    assert meta["prompt"] == ["⟨U+D83D⟩", "⟨U+202E⟩"]
    assert meta["traces"][0]["tokens"] == ["⟨U+DC00⟩"]


def test_a_score_without_a_threshold_is_never_active():
    trace = replace(walk(), thresholds={}, chance={})
    meta, data = pack([trace], ["a"])
    told = meta["traces"][0]
    assert not array(data, told["active"][0]).any()
    assert np.isnan(array(data, told["thresholds"][0])).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"str_tokens": ("a",)}, "str_tokens of the trace has shape"),
        ({"prompt_str_tokens": ("a",)}, "prompt_str_tokens of the trace has shape"),
        ({"top_weights": torch.zeros(5, 3, 2, 1)}, "top_weights of the trace has shape"),
        ({"top_positions": torch.full((5, 3, 2, 3), 61)}, "after the query"),
        ({"evidence": torch.tensor([60])}, "evidence at 60 lies outside"),
        ({"scores": {}}, "holds no score"),
        (
            {"thresholds": {"copy_paste": torch.zeros(4)}},
            r"thresholds\['copy_paste'\] of the trace has shape \(4,\); wanted \(5,\)",
        ),
        (
            {"thresholds": {"copy_paste": 0.5}},
            r"thresholds\['copy_paste'\] of the trace has shape \(\)",
        ),
        (
            {"chance": {"copy_paste": torch.zeros(1)}},
            r"chance\['copy_paste'\] of the trace has shape \(1,\); wanted \(5,\)",
        ),
    ],
)
def test_a_trace_whose_parts_do_not_fit_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        explore(replace(walk(), **change))


def test_what_is_not_a_trace_is_refused():
    with pytest.raises(InputError, match="explore takes a trace; received a str"):
        explore("trace")
    with pytest.raises(UnknownNameError, match="no score 'x' .* it holds: 'copy_paste'"):
        explore(walk(), score="x")
    with pytest.raises(InputError, match="no head"):
        explore(walk(), static=[(3, 0)])
    with pytest.raises(InputError, match="names="):
        explore(walk(), walk(), names=("one",))
    with pytest.raises(InputError, match="window=-1; wanted a whole number"):
        explore(walk(), window=-1)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("window", "2", "window='2'; wanted a whole number, 0 or more"),
        ("window", True, "window=True; wanted a whole number"),
        ("n_windows", 1.5, "n_windows=1.5; wanted a whole number"),
        ("n_windows", -1, "n_windows=-1; wanted a whole number"),
        ("title", 5, "title=5; wanted text"),
        ("names", (1, 2), r"names=\(1, 2\); wanted a name, as text, for each trace"),
        ("names", "ab", "names='ab'; wanted a name"),
        ("names", 7, "names=7; wanted a name"),
        ("static", [], r"static=\[\]; wanted one or more heads, or None"),
        ("static", 5, "static=5; wanted one or more heads, or None"),
        ("static", [(3, 0)], r"static: no head \(3, 0\)"),
        ("static", ["ab"], "static: received 'ab' as a head"),
    ],
)
def test_an_argument_that_cannot_be_is_named(argument, value, message):
    with pytest.raises(InputError, match=f"^{message}"):
        explore(walk(), **{argument: value})


def test_numbers_of_numpy_are_numbers():
    widget = explore(walk(), window=np.int64(2), static=iter([(2, 1)]))
    assert widget._meta["window"] == 2 and type(widget._meta["window"]) is int
    assert widget._meta["static"] == [5]


def test_two_traces_must_be_of_one_prompt_and_model():
    with pytest.raises(InputError, match="two traces of different prompts"):
        explore(walk(), walk(n_prompt=61))
    other = replace(walk(), token_ids=torch.arange(60) + 1)
    with pytest.raises(InputError, match="two traces of different prompts"):
        explore(walk(), other)
    with pytest.raises(InputError, match="different evidence"):
        explore(walk(), replace(walk(), evidence=torch.tensor([1])))
    wide = numpy_trace(n_heads=3), numpy_trace(n_heads=2)
    with pytest.raises(InputError, match="layers, heads"):
        explore(*wide)
