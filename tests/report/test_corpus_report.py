"""The page of a corpus of a model that was passed in, on prompts of no task."""

import html
import re

import pytest

import retrieval_lens as rl
from retrieval_lens.analysis import beside_paper, dynamism, offset_cca
from retrieval_lens.corpora import Corpus
from retrieval_lens.errors import InputError
from retrieval_lens.report.active_sets import sentences
from retrieval_lens.report.corpus_code import FILE, QUESTIONS, _model
from tests.corpora.killed import examples
from tests.report.test_report import sections, table, words

LABEL = {"name": "/home/ann/mine", "dtype": "float32", "architecture": "Llama"}


@pytest.fixture(scope="module")
def page(tiny_page):
    return sections(tiny_page)


def test_what_was_not_recorded_is_left_to_be_filled_in(page, tiny, tiny_model, monkeypatch):
    code = re.search(r"<pre><code>(.*?)</code>", page["Make it again"], re.DOTALL)[1]
    code = html.unescape(code)
    assert (
        "# model = rl.load_model(hf_model=..., tokenizer=...)  # the model that was passed in"
        in code.split("\n")
    )
    assert "# examples = [...]" in code.split("\n")
    monkeypatch.setattr(rl, "load_model", None)
    monkeypatch.chdir(tiny.parent)
    compiled = compile(code, "page", "exec")
    filled = {"model": tiny_model, "examples": examples(8)}
    exec(compiled, filled)
    assert sorted(filled["ids"]) == [f"tiny-{number}" for number in range(8)]
    first, second = (Corpus.open(f"{tiny}{end}") for end in ("", "_again"))
    assert first.manifest["configuration"] == second.manifest["configuration"]
    assert first.example_ids == second.example_ids
    with pytest.raises(NameError, match="model"):
        exec(compiled, {})


def test_the_folder_of_a_model_and_a_file_are_left_too():
    told = _model({**LABEL, "source": "folder"})
    assert "folder 'mine' is" in told and "/home" not in told
    assert all(line.startswith("#") for line in told.split("\n"))
    assert _model({**LABEL, "source": "hub", "name": "a/b", "revision": "c0"}) == (
        "model = rl.load_model('a/b', dtype='float32', revision='c0')"
    )
    written = QUESTIONS.format(source=FILE, reader="'hotpotqa'")
    assert "# source = ..." in written.split("\n") and "load(source, " in written


def test_no_path_of_this_machine_is_on_the_page(tiny_page, tiny):
    assert str(tiny.parent) not in tiny_page and tiny.parent.name not in tiny_page


def test_canonical_correlations_are_those_of_the_corpus(page, tiny):
    found = offset_cca(Corpus.open(tiny), "reasoning", progress=False)
    found = found[(found["statistic"] == "top1") & (found["steps"] == "all")]
    rows = table(page["Hidden state and scores to come, reasoning score"])
    for setting in ("in_sample", "held_out", "gain"):
        told = [float(one.split(" ")[0]) for one in rows[setting]]
        expected = found[found["setting"] == setting].sort_values("offset")["value"]
        assert told == pytest.approx(expected.tolist(), abs=6e-4)


def test_where_nothing_correlates_the_section_says_why(page, tiny):
    with pytest.raises(InputError, match="no head's score varies") as error:
        offset_cca(Corpus.open(tiny), "copy_paste", progress=False)
    section = page["Hidden state and scores to come, copy_paste score"]
    assert "There are no canonical correlations" in words(section)
    assert table(section)["why"] == [str(error.value)]


@pytest.mark.parametrize("name", ["table1", "table5"])
def test_beside_the_paper_stands_the_judged_half_alone(page, tiny, name):
    traces = list(Corpus.open(tiny))
    static = rl.static_heads(traces[::2], None, "reasoning")
    judged = dynamism(traces[1::2], static, score="reasoning", ks=(6,))
    section = page[f"Beside Table {name[-1]} of the paper, reasoning score"]
    rows = table(section)
    wanted = beside_paper(judged, name, name="here").iloc[-1]
    for column in ("mean_active", *({"table1": ["entropy"], "table5": ["ceiling"]}[name])):
        assert rows["here"][rows[""].index(column)] == f"{wanted[column]:.4g}", column
    every = beside_paper(dynamism(traces, score="reasoning"), "table1").iloc[-1]
    assert f"{every.mean_active:.4g}" not in rows["here"], "the halves differ"
    assert "of the judged half alone" in words(section)
    told = words(page["How dynamic the heads are, reasoning score"])
    assert "in the static top 6, of the judged half." in told


def test_another_score_than_the_papers_is_said(page):
    said = "The paper's rows are of the copy-paste score, and the row of this page is of the"
    for number in (1, 5):
        start = f"Beside Table {number} of the paper, "
        assert f"{said} reasoning score" in words(page[f"{start}reasoning score"])
        assert said not in words(page[f"{start}copy_paste score"])


def test_a_task_without_a_name_and_heads_without_a_score(page):
    assert table(page["What was run"])["task"] == ["task without a name"]
    text = words(page["Beside Table 1 of the paper, copy_paste score"])
    assert "(LlamaForCausalLM, task without a name, copy_paste score)" in text
    ranking = words(page["The static ranking, copy_paste score"])
    assert ranking.endswith("No head has a score above 0.") and "L0H0" not in ranking
    assert "The strongest: " in words(page["The static ranking, reasoning score"])


def known(effective, excess):
    """Rows as of `pooled_rows`."""
    rows = {
        ("unique_heads", None, None, None): (5.0, 5.0, 5.0),
        ("total_heads", None, None, None): (9.0, 9.0, 9.0),
        ("effective_heads", None, "skip", None): effective,
        ("adjacent_jaccard_excess", None, "skip", "bernoulli"): excess,
    }
    names = ("value", "low", "high")
    return {key: dict(zip(names, row, strict=True)) for key, row in rows.items()}


def test_an_interval_that_leaves_out_its_value_gives_no_verdict():
    _, spread, excess = sentences(known((13.297, 9.587, 12.869), (0.1, 0.2, 0.3)))
    assert "9.587" not in spread and "differs from a fixed set," not in spread
    assert "13.297 times" in spread and "(effective heads; 1 would be a fixed set). " in spread
    assert excess.endswith(": 0.100 more.")


@pytest.mark.parametrize(
    ("low", "verdict"),
    [(2.5, "which differs from a fixed set."), (0.9, "no difference from a fixed set shown.")],
)
def test_the_number_of_heads_is_beside_a_fixed_set_and_points_to_the_null(low, verdict):
    _, spread, excess = sentences(known((3.0, low, 3.5), (0.25, 0.2, 0.3)))
    assert f"3.000 ({low:.3f} to 3.500) times" in spread and f", {verdict} Indep" in spread
    assert "the sentence on steps of independent heads says" in spread
    assert excess.endswith(": 0.250 (0.200 to 0.300) more, a difference.")
