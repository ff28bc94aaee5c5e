import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_lens as rl
from retrieval_lens.errors import InputError
from retrieval_lens.scores import AttentionRows, DecodedSteps, reasoning_score


def one_row(weights, evidence, first_key=0):
    n = len(weights)
    keys = torch.arange(first_key, first_key + n).view(1, n)
    inside = torch.isin(keys, torch.tensor(evidence))
    pattern = torch.tensor(weights, dtype=torch.float32).view(1, 1, n)
    return AttentionRows(pattern, keys, keys[:, -1], inside)


def steps_at(query, evidence):
    return DecodedSteps(
        torch.zeros(query + 2, dtype=torch.long),
        query + 1,
        torch.tensor([query]),
        torch.tensor([0]),
        torch.tensor(evidence),
    )


def score_of(score, weights, evidence):
    observed = score.observe(one_row(weights, evidence)).unsqueeze(1)
    return float(score.finish(observed, steps_at(len(weights) - 1, evidence)))


def test_hand_worked_case():
    # 10 keys; sink 0-1, local 8-9, evidence 3-4; outside both: 2..7 with mass .5
    weights = [0.2, 0.1, 0.05, 0.15, 0.1, 0.1, 0.05, 0.05, 0.1, 0.1]
    score = rl.Reasoning(n_sink=2, n_local=2)
    masses = score.observe(one_row(weights, [3, 4]))[0, 0]
    torch.testing.assert_close(masses, torch.tensor([0.25, 0.3, 0.2, 0.5]))
    assert score_of(score, weights, [3, 4]) == pytest.approx(0.25 / 0.5)
    assert float(score.chance(steps_at(9, [3, 4]))) == pytest.approx(2 / 6)


def test_evidence_inside_the_windows_stays_in_the_denominator():
    weights = [0.2, 0.1, 0.05, 0.15, 0.1, 0.1, 0.05, 0.05, 0.1, 0.1]
    score = rl.Reasoning(n_sink=2, n_local=2)
    # evidence 1 (sink), 3, 8 (local): (.1 + .15 + .1) / (.5 + .1 + .1)
    assert score_of(score, weights, [1, 3, 8]) == pytest.approx(0.35 / 0.7)
    assert float(score.chance(steps_at(9, [1, 3, 8]))) == pytest.approx(3 / 8)


def test_little_mass_gives_zero():
    weights = [0.995, 0.0, 0.004, 0.001, 0.0]
    assert score_of(rl.Reasoning(n_sink=1, n_local=1), weights, [2]) == 0.0
    low = rl.Reasoning(n_sink=1, n_local=1, min_mass=0.001)
    assert score_of(low, weights, [2]) == pytest.approx(0.8)
    assert reasoning_score(torch.tensor([0.0]), torch.tensor([0.0])).item() == 0.0


def test_a_short_prompt_that_is_all_window():
    assert score_of(rl.Reasoning(), [0.5, 0.3, 0.2], [1]) == pytest.approx(1.0)
    assert score_of(rl.Reasoning(), [0.5, 0.3, 0.2], [1, 2]) == pytest.approx(1.0)


def test_sliding_window_keys_are_absolute_positions():
    score = rl.Reasoning(n_sink=2, n_local=2)
    masses = score.observe(one_row([0.4, 0.3, 0.2, 0.1], [101], first_key=100))[0, 0]
    torch.testing.assert_close(masses, torch.tensor([0.3, 0.0, 0.3, 0.7]))


def test_padding_before_the_prompt_is_not_there():
    score = rl.Reasoning(n_sink=1, n_local=1)
    keys = torch.tensor([[-2, -1, 0, 1, 2]])
    rows = AttentionRows(
        torch.tensor([[[0.0, 0.0, 0.5, 0.3, 0.2]]]), keys, torch.tensor([2]), keys == 1
    )
    torch.testing.assert_close(score.observe(rows)[0, 0], torch.tensor([0.3, 0.5, 0.2, 0.3]))


def test_threshold_follows_chance():
    chance = torch.tensor([0.01, 0.2])
    torch.testing.assert_close(rl.Reasoning().threshold(chance), torch.tensor([0.1, 0.4]))
    plain = rl.Reasoning(times_chance=0)
    torch.testing.assert_close(plain.threshold(chance), torch.tensor([0.1, 0.1]))


@pytest.mark.parametrize(
    "bad", [{"n_sink": -1}, {"n_local": -1}, {"min_mass": 0.0}, {"min_mass": 2.0}, {"floor": -0.1}]
)
def test_bad_parameters(bad):
    with pytest.raises(InputError, match="must not be negative"):
        rl.Reasoning(**bad)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_always_a_share_and_a_uniform_head_scores_chance(data):
    n = data.draw(st.integers(3, 60))
    evidence = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1)))
    logits = data.draw(st.lists(st.floats(-8, 8), min_size=n, max_size=n))
    score = rl.Reasoning(n_sink=data.draw(st.integers(0, 5)), n_local=data.draw(st.integers(0, 9)))
    weights = torch.tensor(logits).softmax(0).tolist()
    assert 0 <= score_of(score, weights, evidence) <= 1
    counted = [i for i in range(n) if i in evidence or score.n_sink <= i < n - score.n_local]
    expected = len(evidence) / len(counted)
    assert float(score.chance(steps_at(n - 1, evidence))) == pytest.approx(expected)
    assert score_of(score, [1 / n] * n, evidence) == pytest.approx(
        expected if len(counted) / n >= 0.01 else 0, abs=1e-5
    )
