from dataclasses import replace

import pytest
import torch
from scipy.stats import chi2, chisquare

import retrieval_lens as rl
from retrieval_lens.errors import InputError
from retrieval_lens.heads import Head, HeadSet, model_shape
from tests.heads.test_static_dynamic import clean_step, made_trace

ACTIVE = [[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]  # L0H0 L0H1 L2H0 L2H3
STATIC = HeadSet(["L2H0", "L1H1", "L0H1", "L0H2", "L1H0"], example_ids=["x"])
DYNAMIC = HeadSet.from_mask(torch.tensor(ACTIVE).bool())
EMPTY = torch.zeros(3, 4)


def uniform(counts, k):
    """p of a chi-square test; draws of k of n heads vary by (n - k)/(n - 1) of independent ones."""
    n = len(counts)
    return float(chi2.sf(chisquare(counts).statistic * (n - 1) / (n - k), n - 1))


def test_static_by_count():
    control = rl.StaticByCount(STATIC)
    assert list(control.select(clean_step(ACTIVE))) == [(2, 0), (1, 1), (0, 1), (0, 2)]
    assert control.select(clean_step(EMPTY)) == HeadSet()
    assert control.sets() == (STATIC,)
    with pytest.raises(InputError, match=r"step 7 has 4 dynamic heads but only 3 are .*k=None"):
        rl.StaticByCount(STATIC.top(3)).select(clean_step(ACTIVE, index=7))


def test_dynamic_minus_static():
    control = rl.DynamicMinus(STATIC)
    assert list(control.select(clean_step(ACTIVE))) == [(0, 0), (2, 3)]
    assert control.select(clean_step(EMPTY)) == HeadSet()
    assert control.sets() == (STATIC,)
    assert control.select(clean_step(ACTIVE)).example_ids == ("x",)


def test_static_minus_dynamic():
    control = rl.StaticMinus(STATIC)
    assert list(control.select(clean_step(ACTIVE))) == [(1, 1), (0, 2), (1, 0)]
    assert control.select(clean_step(EMPTY)) == STATIC
    assert control.sets() == (STATIC,)


def test_the_example_s_own_static_heads():
    """Means over its two steps: L0H1 2/2, L1H0 1/2, the others 0."""
    trace = made_trace([[[0, 1], [1, 0]], [[0, 1], [0, 0]]], id="a")
    steps = [clean_step(torch.zeros(2, 2), index=t, trace=trace) for t in (0, 1, 5)]
    for step in steps:  # the same at every step, beyond the clean response too
        assert list(rl.ExampleStatic(k=2).select(step)) == [(0, 1), (1, 0)]
        assert rl.ExampleStatic(k=0).select(step) == HeadSet()
    rl.ExampleStatic(k=2).select(steps[0]).require_unseen(["a"])  # judged on it on purpose
    by_reasoning = rl.ExampleStatic(k=1, score=rl.Reasoning())
    other = made_trace(torch.zeros(1, 2, 2), masses=[[[0.2, 0.3], [0.1, 0.9]]])
    assert list(by_reasoning.select(clean_step(torch.zeros(2, 2), trace=other))) == [(1, 1)]
    with pytest.raises(InputError, match="k must not be negative; got -2"):
        rl.ExampleStatic(k=-2)


def test_random_outside_is_outside_of_both():
    """Twelve heads, four dynamic, three more static: five are left."""
    seen = set()
    for seed in range(50):
        heads = rl.RandomOutside(STATIC, seed=seed).select(clean_step(ACTIVE))
        assert len(heads) == 4
        assert not heads & DYNAMIC
        assert not heads & STATIC
        seen |= set(heads)
    assert seen == {(0, 3), (1, 2), (1, 3), (2, 1), (2, 2)}


def test_random_outside_takes_what_is_left():
    nearly_all = torch.ones(3, 4)
    nearly_all[1, 2] = nearly_all[1, 0] = 0
    assert list(rl.RandomOutside(STATIC).select(clean_step(nearly_all))) == [(1, 2)]
    assert rl.RandomOutside(STATIC).select(clean_step(torch.ones(3, 4))) == HeadSet()
    assert rl.RandomOutside(STATIC).select(clean_step(EMPTY)) == HeadSet()


@pytest.mark.parametrize("control", [rl.RandomOutside, rl.LayerMatched])
def test_a_draw_depends_on_seed_example_and_step_alone(control):
    def draw(seed=0, index=0, id="a"):
        active = torch.zeros(2, 40)
        active[:, :10] = 1
        return control(seed=seed).select(clean_step(active, index=index, id=id)).heads

    first = draw()
    torch.manual_seed(99)
    draw(seed=5)
    assert draw() == first  # whatever was drawn in between
    others = [draw(index=1), draw(id="b"), draw(seed=1)]
    assert len({first, *others}) == 4


@pytest.mark.parametrize("control", [rl.RandomOutside, rl.LayerMatched])
def test_draws_of_a_control_are_uniform(control):
    active = torch.zeros(1, 8)
    active[0, :2] = 1
    counts = dict.fromkeys(range(2, 8), 0)
    for index in range(1500):
        for head in control().select(clean_step(active, index=index)):
            counts[head.head] += 1
    assert sum(counts.values()) == 3000
    assert uniform(list(counts.values()), k=2) > 0.01


def test_layer_matched_has_the_counts_of_each_layer():
    for seed in range(20):
        heads = rl.LayerMatched(seed=seed).select(clean_step(ACTIVE))
        assert [head.layer for head in heads] == [0, 0, 2, 2]
        assert not heads & DYNAMIC
    assert rl.LayerMatched().select(clean_step(EMPTY)) == HeadSet()


def test_layer_matched_gives_fewer_where_a_layer_is_too_full():
    active = [[1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 0, 0]]
    heads = rl.LayerMatched().select(clean_step(active))
    assert list(heads)[0] == (0, 3)  # three wanted, one there
    assert [head.layer for head in heads] == [0, 2]  # none left in layer 1


SHIFTED = made_trace(
    [
        [[1, 0, 0, 0]],  # 0
        [[0, 0, 0, 0]],  # 1, empty
        [[0, 1, 0, 0]],  # 2
        [[0, 0, 1, 1]],  # 3
        [[0, 0, 0, 0]],  # 4, empty
    ]
)


def shifted(shift, index):
    # What the step itself shows is not read.
    step = clean_step(torch.ones(1, 4), index=index, trace=SHIFTED)
    return [head.head for head in rl.TimeShifted(shift).select(step)]


def test_time_shifted_goes_round_over_the_steps_that_are_not_empty():
    assert [shifted(1, t) for t in (0, 2, 3)] == [[2, 3], [0], [1]]
    assert [shifted(2, t) for t in (0, 2, 3)] == [[1], [2, 3], [0]]
    assert [shifted(4, t) for t in (0, 2, 3)] == [shifted(1, t) for t in (0, 2, 3)]
    assert [shifted(-1, t) for t in (0, 2, 3)] == [[1], [2, 3], [0]]


def test_time_shifted_is_never_the_step_itself():
    for shift in (0, 3, 6, -3):  # would come round to it: one more
        assert [shifted(shift, t) for t in (0, 2, 3)] == [[2, 3], [0], [1]]
    single = made_trace([[[0, 0]], [[1, 0]]])
    step = clean_step(torch.ones(1, 2), index=1, trace=single)
    for shift in (1, 2, 4):
        assert rl.TimeShifted(shift).select(step) == HeadSet()


def test_time_shifted_masks_nothing_at_empty_steps_and_beyond():
    for shift in (1, 2, 4):
        assert [shifted(shift, t) for t in (1, 4, 5, 60)] == [[], [], [], []]
    nothing = made_trace(torch.zeros(2, 1, 4))
    assert rl.TimeShifted().select(clean_step(torch.ones(1, 4), trace=nothing)) == HeadSet()


def test_time_shifted_by_another_score():
    trace = made_trace(torch.zeros(2, 1, 2), masses=[[[0.9, 0.0]], [[0.0, 0.9]]])
    control = rl.TimeShifted(1, score=rl.Reasoning(times_chance=0))
    heads = [control.select(clean_step(torch.zeros(1, 2), index=t, trace=trace)) for t in (0, 1)]
    assert [list(step) for step in heads] == [[(0, 1)], [(0, 0)]]


def test_mass_matched_by_hand():
    """0.50 and 0.30 look for a partner: 0.50 chooses first and takes 0.45, 0.30 gets 0.10."""
    masses = [[0.30, 0.50, 0.45], [0.10, 0.90, 0.05]]
    step = clean_step([[1, 1, 0], [0, 0, 0]], masses=masses)
    assert list(rl.MassMatched().select(step)) == [(0, 2), (1, 0)]


def test_mass_matched_takes_nobody_twice_and_ties_to_the_lowest():
    masses = [[0.50, 0.50, 0.75], [0.25, 0.25, 0.0]]
    step = clean_step([[1, 1, 0], [0, 0, 0]], masses=masses)
    assert list(rl.MassMatched().select(step)) == [(0, 2), (1, 0)]  # 0.25 away each
    full = clean_step([[1, 1, 1], [1, 1, 0]], masses=masses)
    assert list(rl.MassMatched().select(full)) == [(1, 2)]
    assert rl.MassMatched().select(clean_step(torch.ones(2, 3), masses=masses)) == HeadSet()
    assert rl.MassMatched().select(clean_step(torch.zeros(2, 3), masses=masses)) == HeadSet()


def test_mass_matched_is_as_near_as_can_be_step_by_step():
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        masses = torch.rand(4, 6, generator=generator)
        active = torch.rand(4, 6, generator=generator) < 0.3
        heads = rl.MassMatched().select(clean_step(active, masses=masses))
        assert len(heads) == min(int(active.sum()), int((~active).sum()))
        assert not heads & HeadSet.from_mask(active)
        free = sorted(masses[~active].tolist())
        for mass, head in zip(sorted(masses[active].tolist(), reverse=True), heads, strict=False):
            taken = float(masses[head])
            assert abs(taken - mass) == min(abs(other - mass) for other in free)
            free.remove(taken)


def test_what_a_control_reads_is_declared():
    """The engine gives a strategy what it says it reads, and nothing more."""
    reads = {
        cls.__name__: (cls.reads_step, cls.reads_trace, cls.reads_masses)
        for cls in rl.StepHeads.__subclasses__()
        if cls.__module__.startswith("retrieval_lens")
    }
    assert reads == {
        "Dynamic": (True, False, False),
        "DynamicMinus": (True, False, False),
        "ExampleStatic": (False, True, False),
        "Fixed": (False, False, False),
        "LayerMatched": (True, False, False),
        "MassMatched": (True, False, True),
        "RandomOutside": (True, False, False),
        "Scheduled": (False, False, False),
        "StaticByCount": (True, False, False),
        "StaticMinus": (True, False, False),
        "TimeShifted": (False, True, False),
    }


def test_masses_are_read_where_they_are_declared():
    step = clean_step(ACTIVE, masses=torch.rand(3, 4))
    without = replace(step, masses=torch.zeros(3, 4))
    for control in (rl.StaticByCount(STATIC), rl.RandomOutside(STATIC), rl.LayerMatched()):
        assert control.select(step).heads == control.select(without).heads


def test_random_heads():
    heads = rl.random_heads((4, 5), k=6, seed=3)
    assert len(heads) == 6
    heads.require_within(4, 5)
    assert heads.heads == rl.random_heads((4, 5), k=6, seed=3).heads
    assert heads.heads != rl.random_heads((4, 5), k=6, seed=4).heads
    assert heads.provenance == {"detector": "random", "k": 6, "seed": 3, "excluded": 0}
    every = rl.random_heads((4, 5), k=20)
    assert set(every) == {Head(i, j) for i in range(4) for j in range(5)}  # nobody twice
    assert rl.random_heads((4, 5), k=0) == HeadSet()


def test_random_heads_exclude():
    for exclude in (STATIC, ["L2H0", "1-1", (0, 1), (0, 2), (1, 0)]):
        rest = rl.random_heads((3, 4), k=7, exclude=exclude)
        assert set(rest) == {Head(i, j) for i in range(3) for j in range(4)} - set(STATIC)
        with pytest.raises(InputError, match=r"k must be in 0..7.*got 8"):
            rl.random_heads((3, 4), k=8, exclude=exclude)
    assert rl.random_heads((3, 4), k=1, exclude=STATIC).example_ids == ("x",)
    for k in (-1, 13):
        with pytest.raises(InputError, match=r"k must be in 0..12"):
            rl.random_heads((3, 4), k=k)


def test_random_heads_are_uniform():
    counts = torch.zeros(3, 4)
    for seed in range(1200):
        counts += rl.random_heads((3, 4), k=3, seed=seed).mask(3, 4)
    assert counts.sum() == 3600
    assert uniform(counts.flatten().tolist(), k=3) > 0.01


def test_the_shape_of_a_model():
    from tests.tiny_models import N_HEADS, N_LAYERS, tiny_bridge

    assert model_shape((3, 4)) == (3, 4)
    bridge = tiny_bridge("llama-gqa")
    assert model_shape(bridge) == (N_LAYERS, N_HEADS)
    assert rl.random_heads(bridge, k=5, seed=1) == rl.random_heads((N_LAYERS, N_HEADS), 5, 1)
