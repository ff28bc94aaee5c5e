"""Evidence recall against the share revealed."""

import pandas as pd
import pytest

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.viz import revealed


def answers() -> pd.DataFrame:
    """Two strategies on two questions; random heads in two draws."""
    rows = [
        ("bm25", None, "a", 0.5, 0.1),
        ("bm25", None, "b", 1.0, 0.3),
        ("<b>own</b>", 5, "a", 0.0, 0.2),
        ("<b>own</b>", 5, "a", 1.0, 0.4),
        ("<b>own</b>", 5, "b", 1.0, 0.5),
        ("<b>own</b>", 10, "a", 1.0, 0.8),
    ]
    columns = ["condition", "k", "question_id", "first_recall", "first_share"]
    return pd.DataFrame(rows, columns=columns)


def test_a_point_is_the_mean_over_questions_of_the_means_over_draws():
    figure = revealed(answers())
    points = {one.name: (float(one.x[0]), float(one.y[0])) for one in figure.data[1:]}
    assert points == {
        "bm25": pytest.approx((0.2, 0.75)),
        "&lt;b&gt;own&lt;/b&gt;, k = 5": pytest.approx((0.4, 0.75)),
        "&lt;b&gt;own&lt;/b&gt;, k = 10": pytest.approx((0.8, 1.0)),
    }
    assert "2 questions" in figure.layout.title.subtitle.text
    assert list(figure.data[0].x) == list(figure.data[0].y)
    renamed = answers().rename(columns={"first_recall": "evidence_recall"})
    other = revealed(renamed, "evidence_recall")
    assert other.data[1].y == figure.data[1].y


def test_intervals_are_those_of_the_questions():
    bm25 = revealed(answers()).data[1]
    assert float(bm25.error_y.array[0]) == pytest.approx(0.25)  # the ends are the two questions
    assert float(bm25.error_x.arrayminus[0]) == pytest.approx(0.1)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UnknownNameError, match="first_share"):
        revealed(answers().drop(columns="first_share"))
    with pytest.raises(InputError, match="no row"):
        revealed(answers().assign(first_recall=None))
