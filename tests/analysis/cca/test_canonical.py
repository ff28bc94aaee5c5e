"""The CCA itself: a case worked by hand, other implementations, degenerate data."""

import itertools

import numpy as np
import pytest
from sklearn.cross_decomposition import CCA
from statsmodels.multivariate.cancorr import CanCorr

from retrieval_lens.analysis.cca.canonical import CanonicalCorrelation, weighted_correlations
from retrieval_lens.errors import InputError

# eight points; the columns and their products are orthogonal, of mean 0 and variance 1
F1, F2, F3 = np.array(list(itertools.product((-1.0, 1.0), repeat=3))).T


@pytest.fixture
def sides():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 3))
    x = z @ rng.normal(size=(3, 6)) + rng.normal(size=(200, 6))
    y = z @ rng.normal(size=(3, 4)) + rng.normal(size=(200, 4))
    return x + 5, y - 3


def test_by_hand():
    x = np.stack([F1, F2], 1)
    y = np.stack([0.6 * F1 + 0.8 * F3, 0.28 * F2 + 0.96 * F1 * F2 * F3], 1)
    # what CCA does not depend on: any mixture of the columns, any origin
    mixed = x @ np.array([[2.0, 1.0], [-1.0, 3.0]]) + [10, -4], y @ np.array([[1, 1], [0, 0.01]])
    for a, b in ((x, y), mixed):
        cca = CanonicalCorrelation.fit(a, b, 5)
        assert cca.correlations == pytest.approx([0.6, 0.28])
    cca = CanonicalCorrelation.fit(x, y, 1)
    # the first variates are the first columns, up to a common sign
    a, b = cca.transform(x, y)
    assert a[:, 0] * a[0, 0] == pytest.approx(F1 * F1[0])
    assert b[:, 0] * a[0, 0] == pytest.approx(y[:, 0] * F1[0])


def test_equals_statsmodels_and_the_generalised_eigenproblem(sides):
    x, y = sides
    cca = CanonicalCorrelation.fit(x, y, 50)
    assert cca.correlations == pytest.approx(CanCorr(y, x).cancorr, abs=1e-6)
    c = np.cov(x.T, y.T)
    xx, xy, yy = c[:6, :6], c[:6, 6:], c[6:, 6:]
    squares = np.linalg.eigvals(np.linalg.solve(yy, xy.T) @ np.linalg.solve(xx, xy))
    assert cca.correlations**2 == pytest.approx(np.sort(squares.real)[::-1], abs=1e-6)


def test_equals_scikit_learn(sides):
    x, y = sides
    a, b = CCA(4, max_iter=20000, tol=1e-14).fit_transform(x, y)
    iterative = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(4)]
    assert CanonicalCorrelation.fit(x, y, 4).correlations == pytest.approx(iterative, abs=1e-5)


def test_variates_are_white_and_correlate_as_said(sides):
    x, y = sides
    cca = CanonicalCorrelation.fit(x, y, 3)
    a, b = cca.transform(x, y)
    assert cca.n_components == 3
    for variates in (a, b):
        assert np.cov(variates.T, bias=True) == pytest.approx(np.eye(3), abs=1e-9)
    assert a.T @ b / len(a) == pytest.approx(np.diag(cca.correlations), abs=1e-9)


def test_collinear_and_constant_columns_do_no_harm(sides):
    x, y = sides
    wide = np.hstack([x, x[:, :2] + x[:, 2:4], np.full((len(x), 1), 1 / 3), 1e6 * x[:, :1]])
    plain = CanonicalCorrelation.fit(x, y, 50)
    assert CanonicalCorrelation.fit(wide, y, 50).correlations == pytest.approx(plain.correlations)
    tall = CanonicalCorrelation.fit(wide, np.hstack([y, y[:, :1]]), 50)
    assert tall.n_components == 4
    assert tall.correlations == pytest.approx(plain.correlations)


def test_columns_of_very_different_sizes(sides):
    x, y = sides
    scaled = x * np.logspace(-9, 9, 6)
    plain = CanonicalCorrelation.fit(x, y, 50).correlations
    assert CanonicalCorrelation.fit(scaled, y, 50).correlations == pytest.approx(plain, abs=1e-6)


def test_no_more_components_than_pairs_allow():
    rng = np.random.default_rng(0)
    cca = CanonicalCorrelation.fit(rng.normal(size=(5, 9)), rng.normal(size=(5, 7)), 50)
    assert cca.correlations == pytest.approx(np.ones(4))
    assert cca.correlations.max() <= 1


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.ones((2, 1)), np.ones((2, 1)), "2 pairs"),
        (np.full((9, 2), 0.1), np.arange(9.0)[:, None], "first side does not vary"),
        (np.arange(9.0)[:, None], np.zeros((9, 0)), "second side does not vary"),
    ],
)
def test_refuses(x, y, words):
    with pytest.raises(InputError, match=words):
        CanonicalCorrelation.fit(x, y, 2)


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 12, 3)) + 100
    example = np.repeat([0, 1, 2], 4)
    weights = np.array([[1.0, 1, 1], [0, 3, 1], [2, 0, 0]])
    found = weighted_correlations(a, b, example, weights)
    for row, times in zip(found, weights.astype(int), strict=True):
        drawn = np.repeat(np.arange(12), times[example])
        plain = [np.corrcoef(a[drawn, i], b[drawn, i])[0, 1] for i in range(3)]
        assert row == pytest.approx(plain)


def test_nothing_to_correlate_is_nan():
    a = np.array([[1.0], [2.0], [3.0], [0.1], [0.1]])
    example = np.array([0, 0, 0, 1, 1])
    found = weighted_correlations(a, a, example, np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(found[1:]).all()
    assert np.isnan(weighted_correlations(a[:2], a[:2], example[:2], np.ones((1, 2)))).all()


def test_a_direction_that_hardly_varies_in_the_fit_can_be_left_out():
    """Two columns equal but for 0.0005 in the fit, with a y that happens to follow the rest."""
    draw = np.random.default_rng(0)

    def data(n, spread):
        first = draw.normal(size=n)
        rest = draw.normal(size=n)
        x = np.stack([first, first + spread * rest], 1)
        return x, (first + 0.5 * rest + 0.1 * draw.normal(size=n))[:, None]

    fitted, other = data(400, 5e-4), data(400, 0.5)
    found = {}
    for least in (1e-10, 1e-4):
        cca = CanonicalCorrelation.fit(*fitted, 1, least)
        a, b = cca.transform(*other)
        found[least] = np.corrcoef(a[:, 0], b[:, 0])[0, 1]
    assert found[1e-4] > 0.9 and found[1e-10] < 0.5
