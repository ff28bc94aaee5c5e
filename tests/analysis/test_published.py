"""The published numbers, what they say about their own bounds, and yours beside them."""

from math import exp, isnan, log

import pytest

from retrieval_lens.analysis import beside_paper, dynamism, published_table
from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.heads import HeadSet
from tests.analysis.by_hand import bernoulli_sets, sets, value

MODELS = {"llama3.1-8b", "llama3.2-3b", "qwen3-8b", "llama2-13b", "phi4-mini"}
RANKING = HeadSet([divmod(i, 8) for i in range(48)])


@pytest.fixture(scope="module")
def frame():
    return dynamism(bernoulli_sets(4, 20), RANKING, ks=(20, 40), n_resamples=5)


@pytest.mark.parametrize(
    ("name", "rows"), [("table1", 5), ("table2", 5), ("table3", 5), ("table4", 25), ("table5", 15)]
)
def test_tables_of_all_models(name, rows):
    table = published_table(name)
    assert len(table) == rows and set(table.model) == MODELS
    assert not table.isna().any(axis=None)


def test_numbers_of_each_table():
    table1 = published_table("table1").set_index("model")
    assert table1.loc["qwen3-8b", ["mean_active", "std_active"]].tolist() == [20.18, 10.43]
    assert table1.loc["llama2-13b", ["unique_heads", "total_heads"]].tolist() == [172, 1600]
    assert table1.loc["phi4-mini", ["adjacent_jaccard", "entropy"]].tolist() == [0.5056, 3.5532]
    assert published_table("table2").set_index("model").loc["phi4-mini", "auprc"] == 0.8862
    assert published_table("table3").set_index("model").loc["qwen3-8b", "r2"] == 0.72
    rag = published_table("table4").set_index(["model", "strategy"])
    assert rag.loc[("llama3.2-3b", "static"), ["em", "f1"]].tolist() == [0.428, 0.5386]
    by_k = published_table("table6").set_index(["strategy", "k"])
    assert by_k.loc[("dynamic_random", 10), ["em", "f1"]].tolist() == [0.28, 0.3807]
    assert published_table("figure4").set_index("offset").loc[2, "cca_top1"] == 0.915
    assert published_table("figure3").high.tolist() == [1.0, 0.0, 7.0]
    assert published_table("wu_figure1").accuracy.tolist() == [63.6, 94.7]


def test_table5_repeats_table1_at_20():
    at_20 = published_table("table5").query("k == 20").set_index("model").jaccard_static
    assert at_20.equals(
        published_table("table1").set_index("model").jaccard_static20.rename(at_20.name)
    )


def test_the_published_jaccards_are_near_their_ceiling_at_100_and_not_at_20(frame):
    paper = beside_paper(frame, "table5").query("source == 'paper'")
    over = paper.groupby("k").over_ceiling
    assert over.min().round(2)[100] == 0.89 and over.max().round(3)[100] == 0.995
    assert over.min().round(2)[20] == 0.47 and over.max().round(2)[20] == 0.67


def test_most_published_dynamic_heads_lie_inside_the_static_100(frame):
    rows = beside_paper(frame, "table5").query("source == 'paper' and k == 100")
    # J = I / (D + k - I), so that I / D = J (D + k) / (1 + J) / D
    jaccard, size = rows.jaccard_static, rows.mean_active
    coverage = jaccard * (size + 100) / (1 + jaccard) / size
    assert coverage.min() > 0.90 and coverage.max() < 1


def test_the_published_entropies_are_of_shares_that_sum_to_one(frame):
    rows = beside_paper(frame).query("source == 'paper'")
    assert (rows.entropy < rows.unique_heads.map(log)).all()
    assert rows.effective_heads.round(1).tolist() == [3.5, 2.1, 3.0, 21.6, 5.7]


def test_yours_stands_under_the_paper(frame):
    both = beside_paper(frame, name="mine")
    mine = both.iloc[-1]
    assert both.source.tolist() == ["paper"] * 5 + ["yours"] and mine.model == "mine"
    assert mine.mean_active == value(frame, "mean_active", empty="count")
    assert mine.unique_heads == value(frame, "unique_heads") and mine.total_heads == 48
    assert mine.jaccard_static20 == value(frame, "jaccard_static", 20, "count")
    assert mine.adjacent_jaccard == value(frame, "adjacent_jaccard", empty="count")
    assert mine.effective_heads == pytest.approx(exp(mine.entropy) / mine.mean_active)
    table5 = beside_paper(frame, "table5").query("source == 'yours'")
    assert table5.k.tolist() == [20, 40]
    assert table5.ceiling.tolist() == pytest.approx([mine.mean_active / k for k in (20, 40)])


def test_empty_steps_count_beside_the_paper():
    many = [sets([[], [], [0], [1, 2]], f"e{i}") for i in range(2)]
    frame = dynamism(many, n_resamples=5)
    mine = beside_paper(frame).iloc[-1]
    assert mine.mean_active == 0.75
    assert mine.adjacent_jaccard == pytest.approx(1 / 3)
    assert isnan(mine.jaccard_static20)
    with pytest.raises(InputError, match="pass static="):
        beside_paper(frame, "table5")


def test_no_active_head_gives_nan():
    frame = dynamism(sets([[], []]), HeadSet([(0, 0)]), ks=(1,))
    assert isnan(beside_paper(frame).iloc[-1].effective_heads)
    assert isnan(beside_paper(frame, "table5").iloc[-1].over_ceiling)


def test_other_tables_and_frames_are_refused(frame):
    with pytest.raises(UnknownNameError, match="table1, table2"):
        published_table("table7")
    with pytest.raises(UnknownNameError, match="not about dynamism"):
        beside_paper(frame, "table2")
    with pytest.raises(InputError, match="lacks"):
        beside_paper(frame.drop(columns="k"))
    with pytest.raises(InputError, match="no mean_active"):
        beside_paper(frame[frame.statistic == "entropy"])
