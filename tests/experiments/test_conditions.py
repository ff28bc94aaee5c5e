import pytest

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments import Condition, Known, condition_names, register_condition
from retrieval_lens.experiments.conditions import _REGISTRY, condition, variants
from retrieval_lens.experiments.inputs import matched_count, ranking
from retrieval_lens.experiments.needle_grid import NeedleGrid
from retrieval_lens.heads import HeadSet, random_heads
from retrieval_lens.scores import CopyPaste, Reasoning

RANKING = HeadSet([(0, 3), (2, 1), (1, 1), (0, 0)])


def known(**fields) -> Known:
    return Known(RANKING, 2, Reasoning(), (3, 4), **fields)


def test_fixed_sets():
    assert condition("none").make(known()) is None
    assert condition("static").make(known(count=3)).heads == RANKING.heads[:3]
    assert condition("static_k").make(known(k=1)).heads == ((0, 3),)
    drawn = condition("random").make(known(count=5, draw=4))
    assert drawn.heads == random_heads((3, 4), 5, seed=4).heads
    assert condition("random_k").make(known(k=5, draw=4)).heads == drawn.heads


@pytest.mark.parametrize(
    ("name", "kind", "field", "value"),
    [
        ("dynamic", "Dynamic", "k", None),
        ("dynamic_k", "Dynamic", "k", 7),
        ("dynamic_k", "Dynamic", "ties", RANKING),
        ("static_by_count", "StaticByCount", "static", RANKING),
        ("time_shifted", "TimeShifted", "shift", 4),
        ("layer_matched", "LayerMatched", "seed", 0),
        ("mass_matched", "MassMatched", "score", None),
        ("dynamic_minus_static", "DynamicMinus", "static", RANKING.top(2)),
        ("static_minus_dynamic", "StaticMinus", "static", RANKING.top(2)),
        ("random_outside", "RandomOutside", "static", RANKING.top(2)),
        ("example_static", "ExampleStatic", "k", 9),
    ],
)
def test_strategies_get_the_grid_s_score_and_sets(name, kind, field, value):
    made = condition(name).make(known(k=7, count=9))
    assert type(made).__name__ == kind and isinstance(made.score, Reasoning)
    found = getattr(made, field)
    if isinstance(value, HeadSet):
        assert found.heads == value.heads
    elif field != "score":
        assert found == value


def test_without_a_corpus_ties_are_not_broken_by_it():
    bare = Known(HeadSet(), 2, CopyPaste(), (3, 4), k=1)
    assert condition("dynamic_k").make(bare).ties is None


def test_names_are_taken_once_and_unknown_ones_list_the_known():
    with pytest.raises(InputError, match="'none' is already registered"):
        register_condition(Condition("none", lambda known: None))
    with pytest.raises(UnknownNameError, match="no condition 'all'; known: dynamic, dynamic_k"):
        condition("all")


def test_a_condition_of_one_s_own(monkeypatch):
    monkeypatch.setattr("retrieval_lens.experiments.conditions._REGISTRY", dict(_REGISTRY))
    register_condition(Condition("last", lambda known: known.ranking.heads[-known.k :], per_k=True))
    assert "last" in condition_names()
    grid = NeedleGrid(conditions=("none", "last"), k=(1, 2))
    assert [v.label for v in grid.variants] == ["none", "last k=1", "last k=2"]
    assert condition("last").make(known(k=1)) == ((0, 0),)


def test_variants_are_every_k_and_every_draw():
    labels = [v.label for v in variants(("random", "random_k"), (0, 5), 2)]
    assert labels[:2] == ["random draw=0", "random draw=1"]
    assert labels[2:] == [f"random_k k={k} draw={d}" for k in (0, 5) for d in (0, 1)]


def detected(sums, n_steps, id):
    found = {"sums": sums, "n_steps": n_steps, "example_id": id, "shape": [2, 2]}
    return {**found, "score": {}, "model": {}}


def test_the_ranking_pools_steps_and_breaks_ties_by_layer_and_head():
    """Sums (1, 3, 0, 3) over 4 steps in all: heads 1 and 3 tie at 0.75."""
    found = ranking(
        NeedleGrid(),
        [detected([1.0, 2.0, 0.0, 0.0], 3, "a"), detected([0.0, 1.0, 0.0, 3.0], 1, "b")],
    )
    assert found.heads == ((0, 1), (1, 1), (0, 0), (1, 0))
    assert found.scores == (0.75, 0.75, 0.25, 0.0) and found.example_ids == ("a", "b")


def test_the_matched_count_is_the_mean_over_all_steps_of_all_seeds():
    """Sizes 3, 0, 0 and 4, 4, 4, 2: mean 17/7 = 2.43; the mean of the two means would be 2.25."""
    runs = [
        {"runs": {"dynamic": {"masked": [[1, 2, 3], [], []]}}},
        {"runs": {"dynamic": {"masked": [[1] * 4, [1] * 4, [1] * 4, [1] * 2]}}},
    ]
    assert matched_count(runs, "generate") == 2
    runs[1]["runs"]["dynamic"]["masked"].append([1] * 4)  # 21/8 = 2.63
    assert matched_count(runs, "generate") == 3
    effects = [{"effects": {"dynamic": {"n_heads": [7, 0]}}}]
    assert matched_count(effects, "step_effect") == 4
