"""Variants of a score on the same traces, against loops and against tracing anew."""

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.analysis import dynamism, score_sweep
from retrieval_lens.errors import InputError
from tests.tiny_models import tiny_bridge

WINDOWS = [(4, 32), (0, 8), (2, 20)]
VARIANTS = [rl.Reasoning(n_sink=s, n_local=w, name=f"r_{s}_{w}") for s, w in WINDOWS]
PLAIN = rl.Reasoning(times_chance=0, floor=0.05, name="plain")  # of the first's windows


def examples():
    torch.manual_seed(3)
    return [
        rl.RetrievalExample(
            f"e{i}", "", torch.randint(0, 90, (60,)), torch.arange(5 + i, 19 + i), ()
        )
        for i in range(3)
    ]


@pytest.fixture(scope="module")
def bridge():
    return tiny_bridge("llama-gqa")


@pytest.fixture(scope="module")
def traces(bridge):
    return rl.RetrievalTracer(bridge, VARIANTS).trace_many(examples(), 1, 6, progress=False)


def by_hand(traces, variant):
    """Every number of a row, head by head."""
    chances, lifts, active_lifts, sets = [], [], [], []
    for trace in traces:
        scores = trace.rescore(variant)
        chance = variant.chance(trace.steps)
        limits = [max(variant.floor, variant.times_chance * float(c)) for c in chance]
        for t in range(trace.n_steps):
            chances.append(float(chance[t]))
            heads = set()
            for layer in range(scores.shape[1]):
                for head in range(scores.shape[2]):
                    value = float(scores[t, layer, head])
                    lifts.append(value / float(chance[t]))
                    if value > limits[t]:
                        heads.add((layer, head))
                        active_lifts.append(lifts[-1])
            sets.append(heads)
    return chances, lifts, active_lifts, sets


def mean(values):
    return pytest.approx(sum(values) / len(values), rel=1e-5)


def test_every_number_by_loops(traces):
    frame = score_sweep(traces, [*VARIANTS, PLAIN], k=3, n_resamples=50)
    first = by_hand(traces, VARIANTS[0])[3]
    for variant, row in zip([*VARIANTS, PLAIN], frame.itertuples(), strict=True):
        chances, lifts, active_lifts, sets = by_hand(traces, variant)
        assert row.name == variant.name and row.n_steps == len(sets) and row.n_examples == 3
        assert (row.n_sink, row.n_local, row.floor) == (
            variant.n_sink,
            variant.n_local,
            variant.floor,
        )
        assert row.chance == mean(chances) and row.lift == mean(lifts)
        assert row.active_lift == mean(active_lifts)
        assert row.mean_active == mean([len(one) for one in sets])
        assert row.mean_active_low <= row.mean_active <= row.mean_active_high
        pairs = zip(sets, first, strict=True)
        assert row.jaccard_first == mean(
            [len(a & b) / len(a | b) if a | b else 1 for a, b in pairs]
        )
    assert frame.jaccard_first[0] == 1 and frame.overlap_first[0] == 1
    assert (frame.jaccard_first[1:] < 1).any()
    assert frame.threshold[3] == pytest.approx(0.05), "the plain threshold"
    assert frame.chance[1] != frame.chance[0], "other windows, another denominator"


def test_a_variant_is_what_a_trace_of_its_own_gives(bridge, traces):
    alone = rl.RetrievalTracer(bridge, [VARIANTS[1]]).trace_many(examples(), 1, 6, progress=False)
    for one, other in zip(alone, traces, strict=True):
        assert one.scores["r_0_8"].equal(other.rescore(VARIANTS[1]))
    frame = score_sweep(traces, VARIANTS, k=2, n_resamples=50).set_index("name")
    own = dynamism(alone, score="r_0_8", n_resamples=50)
    found = own[(own.statistic == "adjacent_jaccard") & (own["empty"] == "count")].iloc[0]
    assert frame.adjacent_jaccard["r_0_8"] == found.value
    assert frame.adjacent_jaccard_low["r_0_8"] == found.low


def test_no_model_is_run_and_what_was_not_traced_is_refused(traces, monkeypatch):
    from retrieval_lens.tracing import tracer

    monkeypatch.setattr(tracer, "open_decoder", None)
    score_sweep(traces[0], [VARIANTS[0]], k=1, n_resamples=10)
    with pytest.raises(InputError, match="trace again with it among scores"):
        score_sweep(traces, [rl.Reasoning(n_local=9)])


@pytest.mark.parametrize(
    ("given", "scores", "options", "message"),
    [
        ([], VARIANTS, {}, "received no trace"),
        (None, [], {}, "scores holds variants"),
        (None, ["reasoning"], {}, "scores holds variants"),
        (5, VARIANTS, {}, "received int"),
        (["a"], VARIANTS, {}, "received a str"),
        (None, VARIANTS, {"k": 0}, "k must be in 1..12"),
        (None, VARIANTS, {"k": 99}, "k must be in 1..12"),
    ],
)
def test_what_cannot_be_swept(traces, given, scores, options, message):
    given = traces if given is None else given
    with pytest.raises(InputError, match=message):
        score_sweep(given, scores, **options)
