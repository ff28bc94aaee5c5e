"""Which steps are paired, which examples are held out, what the reductions keep."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from retrieval_lens.analysis.cca.features import context_pcs, earlier_score_pcs, projected
from retrieval_lens.analysis.cca.pairs import exchanged, pairs_at, split_examples, step_table
from retrieval_lens.analysis.cca.settings import CcaSettings, offsets_of
from retrieval_lens.errors import InputError
from tests.analysis.cca.data import latent_responses, response


def settings(**changed) -> CcaSettings:
    given = {"offsets": (0, 2), "n_components": 50, "hidden_variance": 0.95}
    given |= {
        "score_variance": 0.99,
        "test_share": 0.5,
        "n_nulls": 2,
        "min_count": 5,
        "n_resamples": 10,
    }
    return CcaSettings(**given | {"confidence": 0.95, "seed": 0} | changed)


@pytest.fixture
def table():
    """Rows 0-4 are example a, rows 5-7 example b; the scores are the row numbers."""
    rows = np.arange(8.0)[:, None] + [[0.0, 0.0]]
    return step_table([response(rows[5:], rows[5:], "b"), response(rows[:5], rows[:5], "a")])


def test_rows_stand_in_the_order_of_names(table):
    assert table.names == ("a", "b")
    assert table.scores[:, 0].tolist() == table.hidden[:, 1].tolist() == list(range(8))
    assert table.step.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert table.filled.tolist() == [False] + [True] * 7


def test_pairs_of_an_offset(table):
    both = np.arange(2)
    every = pairs_at(table, both, offset=1, reach=1)
    assert every.source.tolist() == [0, 1, 2, 3, 5, 6]
    assert every.target.tolist() == [1, 2, 3, 4, 6, 7]
    assert every.example.tolist() == [0, 0, 0, 0, 1, 1]
    shared = pairs_at(table, both, offset=1, reach=2)
    assert shared.source.tolist() == [0, 1, 2, 5]
    assert shared.target.tolist() == [1, 2, 3, 6]
    assert pairs_at(table, both, offset=0, reach=3).n_examples == 1
    assert len(pairs_at(table, both, offset=5, reach=5)) == 0


def test_exchanged_scores_are_of_the_same_step_of_another_example(table):
    pairs = pairs_at(table, np.arange(2), 1, 1, donors=np.array([1, 0]))
    assert pairs.source.tolist() == [0, 1, 5, 6]
    assert pairs.target.tolist() == [6, 7, 1, 2]
    assert (table.step[pairs.target] == table.step[pairs.source] + 1).all()
    drawn = exchanged(np.array([3, 5, 8, 9]), 50, [0])
    assert len(drawn) == 50
    assert all((one != [3, 5, 8, 9]).all() and sorted(one) == [3, 5, 8, 9] for one in drawn)
    assert len({tuple(one) for one in drawn}) == 9  # all derangements of four


def test_split_of_examples():
    long = latent_responses(10, 6, [0.5])
    short = [response(np.ones((2, 1)), np.ones((2, 1)), f"z{i}") for i in range(3)]
    table = step_table([*short, *long])
    train, test = split_examples(table, settings(test_share=0.3))
    assert (len(train), len(test)) == (7, 3)
    assert sorted([*train, *test]) == list(range(10))  # none that is too short for offset 2
    other = split_examples(table, settings(test_share=0.3, seed=1))[1]
    assert other.tolist() != test.tolist()


@pytest.mark.parametrize(
    ("n_examples", "changed", "words"),
    [
        (3, {}, "received 3 examples; wanted at least 4"),
        (6, {"test_share": 0.1}, "leaves 5 to train on and 1 to test on"),
        (6, {"test_share": 0.9}, "leaves 1 to train on and 5 to test on"),
        (6, {"offsets": (0, 6)}, r"offset 6: 0 of 6 examples .*the longest has 6"),
    ],
)
def test_refuses_a_split(n_examples, changed, words):
    table = step_table(latent_responses(n_examples, 6, [0.5]))
    with pytest.raises(InputError, match=words):
        split_examples(table, settings(**changed))


@pytest.mark.parametrize("offsets", [[], [1, 1], [-1], [0.0], [True], "01", 3, None])
def test_refuses_offsets(offsets):
    with pytest.raises(InputError, match="offset"):
        offsets_of(offsets)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n_components", value) for value in (0, 2.0, True, None)),
        *(("n_nulls", value) for value in (-1, 1.5)),
        *(("min_count", value) for value in (0, 2.5)),
        *(("hidden_variance", value) for value in (0, 1.1, -0.1, float("nan"), "0.95", True)),
        *(("score_variance", value) for value in (0.0, 99)),
        *(("test_share", value) for value in (0, 1, 1.0)),
        *(("n_resamples", 0), ("confidence", 95), ("seed", -1)),
    ],
)
def test_refuses_settings(name, value):
    with pytest.raises(InputError, match=name):
        settings(**{name: value})


@pytest.mark.parametrize("n", [30, 100])
def test_pcs_equal_scikit_learns_full_solver(n):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n + 7, 40)) * np.logspace(0, 2, 40) + 1000
    fit_rows = np.arange(n)
    found = projected(values, fit_rows, 0.95)
    plain = PCA(0.95, svd_solver="full").fit(values[:n])
    assert found.n_pcs == plain.n_components_ < min(n, 40)
    assert np.abs(found.pcs) == pytest.approx(np.abs(plain.transform(values)), abs=1e-6)


def test_scores_are_scaled_and_constant_heads_left_out():
    values = np.array([[0.0, 7.0, 0.0], [1.0, 7.0, 300.0], [0.0, 7.0, 150.0], [9.0, 9.0, 9.0]])
    found = projected(values, np.arange(3), 1, scaled=True)
    assert (found.n_constant, found.n_pcs) == (1, 2)
    # both heads count alike: squared distance of rows 0 and 1 is 1 + 1, of rows 0 and 2 1/4
    distance = ((found.pcs - found.pcs[0]) ** 2).sum(1)
    assert distance[1:3] == pytest.approx([2, 0.25])
    # the constant head stays out of rows that were not in the fit
    assert distance[3] == pytest.approx(81 + (9 / 300) ** 2)


def test_pcs_without_variance_are_dropped():
    rng = np.random.default_rng(0)
    thin = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 20))
    assert projected(thin, np.arange(60), 1).n_pcs == 3
    assert projected(thin, np.arange(10), 1).n_pcs == 3
    assert projected(np.ones((60, 20)), np.arange(60), 0.95).n_pcs == 0


def test_known_scores_are_earlier_than_the_target(table):
    rows = np.arange(8)
    plain = {
        0: np.array([0.0, 0, 1, 2, 3, 0, 5, 6]),  # of the step before; nothing before the first
        2: np.arange(8.0),
    }
    for offset, known in plain.items():
        found = earlier_score_pcs(table, rows, offset, settings(score_variance=1))
        assert found.shape == (8, 1)
        assert abs(np.corrcoef(found[:, 0], known)[0, 1]) == pytest.approx(1)


def test_rare_tokens_share_a_column():
    # tokens 1 and 2 five times each, tokens 3 to 7 once: three categories, two of them free
    ids = [1] * 5 + [2] * 5 + [3, 4, 5, 6, 7]
    values = np.zeros((15, 2))
    one = response(values, values, "a", ids, np.zeros(15, int))
    unseen = response(values[:2], values[:2], "b", [3, 99], [0, 0])
    table = step_table([one, unseen])
    found = context_pcs(table, np.arange(15), settings(hidden_variance=1))
    tokens = found[:, :2]  # y_n does not vary and has none; the rest is the step
    assert len(np.unique(tokens.round(6), axis=0)) == 3
    assert tokens[15] == pytest.approx(tokens[10])
    assert tokens[16] == pytest.approx(tokens[10])
    # fifteen steps once each are one category, so that their number is all there is
    assert found.shape[1] == 3
    assert found[:, 2].tolist() == [*range(15), 0, 1]


def test_rare_categories_share_a_column():
    """Token 7 stands 3 times in the training rows, token 8 twice, token 9 not at all."""
    from retrieval_lens.analysis.cca.features import _one_hot

    ids = np.array([5, 5, 5, 7, 7, 7, 8, 8, 9])
    found = _one_hot(ids, np.arange(8), settings(min_count=3))
    assert found.shape == (9, 3)
    assert found[6].tolist() == found[7].tolist() == found[8].tolist()
    assert found[0].tolist() != found[3].tolist() != found[6].tolist()
    assert _one_hot(ids, np.arange(8), settings(min_count=2)).shape == (9, 3)
