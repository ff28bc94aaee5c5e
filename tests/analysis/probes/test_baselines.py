"""What is known without the hidden state."""

import pytest
import torch

from retrieval_lens.analysis.probes.baselines import NAMES, Baselines
from retrieval_lens.analysis.probes.pairs import pairs_of
from retrieval_lens.analysis.probes.settings import ProbeSettings
from tests.analysis.probes.synthetic import response


def by_hand(rows, **kwargs):
    return response(torch.tensor(rows, dtype=torch.float32).view(len(rows), 1, 2), **kwargs)


TRAIN = [
    by_hand([[1, 0], [1, 0], [0, 0]], name="a", tokens=[5, 6, 5]),
    by_hand([[1, 0], [0, 1]], name="b", tokens=[5, 9]),
]
TEST = by_hand([[0, 0], [0, 1], [1, 0], [1, 0]], name="c", tokens=[9, 4, 5, 5])


def test_all_baselines_worked_on_paper():
    settings = ProbeSettings()
    fitted = Baselines.fit(pairs_of(TRAIN, settings))
    assert fitted.rate.tolist() == pytest.approx([3 / 5, 1 / 5])
    found = fitted.predict(pairs_of([TEST], settings))
    assert tuple(found) == NAMES
    assert found["base_rate"].tolist() == [pytest.approx([0.6, 0.2])] * 4
    # two pairs at step 0 and 1, one at step 2, two more at the base rate; step 3 is unseen
    assert found["base_rate_by_step"].tolist() == [
        pytest.approx([(2 + 1.2) / 4, 0.4 / 4]),
        pytest.approx([(1 + 1.2) / 4, (1 + 0.4) / 4]),
        pytest.approx([1.2 / 3, 0.4 / 3]),
        pytest.approx([0.6, 0.2]),
    ]
    # token 9 once with the second head; 4 is unseen; 5 three times, twice with the first head
    assert found["base_rate_by_token"].tolist() == [
        pytest.approx([1.2 / 3, (1 + 0.4) / 3]),
        pytest.approx([0.6, 0.2]),
        pytest.approx([(2 + 1.2) / 5, 0.4 / 5]),
        pytest.approx([(2 + 1.2) / 5, 0.4 / 5]),
    ]
    assert found["previous_scores"].tolist() == [
        pytest.approx([0.6, 0.2]),
        pytest.approx([0, 0]),
        pytest.approx([0, 1]),
        pytest.approx([1, 0]),
    ]


def test_at_an_offset_the_token_is_of_the_hidden_states_step_and_the_index_of_the_targets():
    settings = ProbeSettings(offset=1)
    fitted = Baselines.fit(pairs_of(TRAIN, settings))
    # pairs: (token 5, step 1, [1, 0]), (6, 2, [0, 0]), (5, 1, [0, 1])
    assert fitted.tokens.tolist() == [5, 6] and len(fitted.by_step) == 3
    rate = [1 / 3, 1 / 3]
    assert fitted.rate.tolist() == pytest.approx(rate)
    assert fitted.by_step[0].tolist() == pytest.approx(rate)
    assert fitted.by_step[2].tolist() == pytest.approx([2 / 9, 2 / 9])
    assert fitted.by_token[0].tolist() == pytest.approx([(1 + 2 / 3) / 4] * 2)
    found = fitted.predict(pairs_of([TEST], settings))
    assert found["previous_scores"].tolist() == [[0, 0], [0, 1], [1, 0]]


def test_a_regressors_base_rate_is_its_mean_score():
    settings = ProbeSettings(kind="regressor")
    halves = by_hand([[0.5, 0.25], [0.0, 0.25]])
    assert Baselines.fit(pairs_of([halves], settings)).rate.tolist() == [0.25, 0.25]
