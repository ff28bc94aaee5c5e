"""Numbers of the page against the folder's own, verdicts by hand, and what is refused."""

import html
import json
import math
import re
import shutil

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import retrieval_lens as rl
from retrieval_lens.analysis import beside_paper, dynamism, published_table
from retrieval_lens.cli.report import report as command
from retrieval_lens.corpora import Corpus
from retrieval_lens.errors import FileFormatError, InputError, UnknownNameError
from retrieval_lens.experiments import (
    grid_from_json,
    load_active,
    load_results,
    load_static,
    load_step_effects,
)
from retrieval_lens.experiments.questions import _read
from retrieval_lens.report import ablations, report
from retrieval_lens.report.comparisons import (
    contrasts,
    draws_table,
    runs_of,
    sentence,
    told,
    verdict,
)
from retrieval_lens.report.grid_folder import open_grid
from retrieval_lens.report.grid_record import _digests
from retrieval_lens.report.grid_record import questions as questions_section
from retrieval_lens.report.parts import Code
from tests.experiments.fake_worker import run_fake
from tests.report import folders

SECTION = re.compile(r"<section.*?</section>", re.DOTALL)


def sections(document):
    """Text of every section, by its heading."""
    found = {}
    for one in SECTION.findall(document):
        heading = re.search(r"<h2[^>]*>(.*?)</h2>", one).group(1)
        found[html.unescape(heading)] = one
    return found


def words(section):
    """What a section says before its figure."""
    return html.unescape(" ".join(re.findall(r"<p>(.*?)</p>", section)))


def table(section):
    """Rows of a section's table, by the name of the row."""
    rows = {}
    for row in re.findall(r"<tr.*?</tr>", section, re.DOTALL):
        cells = [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        rows[cells[0]] = cells[1:]
    return rows


@pytest.fixture(scope="module")
def pages(documents):
    return {name: sections(document) for name, document in documents.items()}


def test_means_are_those_of_the_results(pages, needles):
    frame = load_results(needles)
    rows = table(pages["needles"]["Responses under every condition"])
    heading = rows.pop("")
    assert list(rows) == [
        *("none", "dynamic", "static_by_count", "static", "random", "dynamic_k k=0"),
        "dynamic_k k=2",
    ]
    for measure in ("exact", "answer_chars"):
        at = heading.index(measure)
        for name in ("none", "dynamic", "static", "random"):
            expected = frame[frame.condition == name][measure].mean()
            assert rows[name][at].startswith(f"{expected:.3f} ("), (measure, name)
    assert rows["random"][-1] == "24" and rows["none"][-1] == "12"


def test_single_steps_are_those_of_the_step_effects(pages, needles):
    """An independent way: from the steps, not from the table of runs."""
    steps = load_step_effects(needles)
    steps = steps[(steps.condition == "dynamic") & steps.is_retrieval]
    expected = steps.groupby("example_id").delta_log_prob.mean().mean()
    rows = table(pages["needles"]["Single steps under every condition"])
    at = rows[""].index("Δ log p, retrieval steps (nats)")
    assert rows["dynamic"][at].startswith(f"{expected:.3f} (")


def test_the_spread_of_draws(pages, needles):
    frame = load_results(needles)
    means = frame[frame.condition == "random"].groupby("draw").answer_chars.mean()
    rows = table(pages["needles"]["Single random draws"])
    told = rows["random"][rows[""].index("answer_chars")]
    assert told == f"{means.min():.3f} to {means.max():.3f}" and rows["random"][0] == "2"


def test_a_verdict_worked_by_hand(pages):
    """Question i loses 2 + i / 8 by dynamic and 1.5 + i / 8 by static heads: 0.5 in every pair."""
    section = pages["questions"]["Verdict: single-step effect"]
    told = words(section)
    assert (
        "Primary contrast, fixed before looking. Masking dynamic costs 0.500 nats more than "
        "masking static_by_count (95 % interval 0.500 to 0.500, 6 questions): a difference."
    ) in told
    # against nothing: 2 + mean(0 … 5) / 8 = 2.3125
    assert "Masking dynamic costs 2.312 nats more than masking nothing" in told
    assert "No difference shown beside dynamic: time_shifted 0.000 (0.000 to 0.000)." in told
    assert "Every difference is the row's mean minus the baseline's." in told
    rows = table(section)
    assert rows["static_by_count"][:3] == ["-1.812", "-2.312", "0.500 (0.500 to 0.500)"]
    assert rows["static_by_count"][-2:] == ["6", "a difference"]
    assert rows["time_shifted"][-1] == "no difference shown"


def test_layouts_of_a_question_are_one_unit(pages, questions):
    assert table(pages["questions"]["What was run"])["runs"] == ["48 runs of 6 questions"]
    assert len(load_results(questions)) == 6 * 2 * 4
    assert table(pages["questions"]["Verdict: single-step effect"])["none"][-2] == "6"


def test_strategies_against_the_oracle(pages):
    section = pages["answers"]["Verdict: facts found"]
    assert (
        "The share of facts found is 0.500 lower with fixed_random k=5 than with oracle_dynamic "
        "k=5 (95 % interval 0.500 to 0.500, 6 questions): a difference."
    ) in words(section)
    rows = table(pages["answers"]["Every strategy"])
    assert rows["oracle_dynamic k=10"][rows[""].index("F1")].startswith("0.312 (")
    assert "No difference shown beside oracle_dynamic k=5" in words(pages["answers"]["Verdict: F1"])


def test_the_papers_tables_stand_beside_ours(pages):
    paper = published_table("table4")
    rows = table(pages["answers"]["Beside Table 4 of the paper"])
    columns = rows.pop("")
    for row in paper.to_dict("records"):
        told = rows[row["model"]][columns.index(row["strategy"])]
        assert told == f"{row['em']:.3f} / {row['f1']:.3f}"
    ours = dict(zip(columns, rows["here: fake, k = 5"], strict=True))
    assert ours["no_retrieval"] == ours["fixed_random"] == "0.167 / 0.312"
    assert ours["dynamic"] == "", "it was not run"
    table6 = table(pages["answers"]["Beside Table 6 of the paper"])
    assert table6["llama3.1-8b (paper): static"] == [
        "0.398 / 0.510",
        "0.280 / 0.377",
        "0.282 / 0.381",
    ]
    assert table6["fake: fixed_random"] == ["0.167 / 0.312", "0.167 / 0.312", ""]
    assert "differ here" in words(pages["answers"]["Beside Table 4 of the paper"])


def test_dynamism_is_that_of_the_active_heads(pages, needles):
    frame = dynamism(load_active(needles), load_static(needles, 40), ks=(20,))
    rows = table(pages["needles"]["How dynamic the heads are"])
    wanted = frame[(frame.statistic == "mean_active") & (frame.pooled == "steps")]
    for column, empty in enumerate(("count", "skip")):
        (one,) = wanted[wanted["empty"] == empty].to_dict("records")
        assert (
            rows["mean_active"][column]
            == f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
        )
    table1 = table(pages["needles"]["Beside Table 1 of the paper"])
    ours = beside_paper(frame, "table1").iloc[-1]
    assert table1["here"][table1[""].index("entropy")] == f"{ours.entropy:.4g}"
    assert (
        "llama3.1-8b" in table1 and "2602.11162" in pages["needles"]["Beside Table 1 of the paper"]
    )


def test_a_corpus_ranks_on_one_half_and_judges_on_the_other(pages, corpus):
    traces = list(Corpus.open(corpus))
    rows = table(pages["corpus"]["How dynamic the heads are, copy_paste score"])
    frame = dynamism(traces, score="copy_paste")
    mean = frame[(frame.statistic == "mean_active") & (frame.pooled == "steps")]
    assert rows["mean_active"][0].startswith(f"{mean[mean['empty'] == 'count'].value.item():.3f}")
    text = words(pages["corpus"]["The static ranking, copy_paste score"])
    assert "over 2 of the responses" in text and "judged on the other 2" in text
    right = table(pages["corpus"]["How right the responses are"])
    assert right["truncated"][0].startswith("1.000 (")


def test_what_was_run_and_the_conventions_are_the_records(pages, needles, corpus):
    run = table(pages["needles"]["What was run"])
    manifest = json.loads((needles / "manifest.json").read_text())["content"]
    assert run["sha256 of the weights"] == ["c0ffee"] and run["heads"] == ["4 layers of 10"]
    assert run["started"] == [manifest["started"]] and run["folder"] == [needles.name]
    assert run["runs"] == ["96 runs of 12 prompts"]
    assert f"torch {manifest['versions'][0]['torch']}" in run["versions"][0]
    assert run["finished cells"] == ["4 of 4 (detect), 12 of 12 (own), 12 of 12 (matched)"]
    rules = table(pages["needles"]["Conventions"])
    assert rules["mode"][0] == "zero" and rules["parameters.n_sink"][0] == "4"
    assert rules["detection prompts"][0] == "4"
    rules = table(pages["corpus"]["Conventions"])
    assert rules["step_0"][0] == "row of the last prompt token"
    assert rules["scores.reasoning.n_local"][0] == "32"


@pytest.mark.parametrize("name", ["needles", "questions", "answers"])
def test_the_page_holds_the_grid_that_makes_it_again(pages, name, request):
    code = html.unescape(
        re.search(r"<pre><code>(.*?)</code>", pages[name]["Make it again"], re.S)[1]
    )
    content = json.loads(code.split("'END'\n")[1].split("\nEND")[0])
    folder = request.getfixturevalue(name)
    stored = json.loads((folder / "manifest.json").read_text())["content"]["grid"]
    assert grid_from_json(content) == grid_from_json(stored)
    assert f"--config grid.json --out {folder.name}_again" in code


def test_the_page_holds_the_calls_that_collect_again(pages, corpus, smollm2, monkeypatch):
    section = pages["corpus"]["Make it again"]
    code = html.unescape(re.search(r"<pre><code>(.*?)</code>", section, re.DOTALL)[1])
    loaded = []

    def load_model(*names, **options):
        loaded.append((names, options))
        return smollm2

    monkeypatch.setattr(rl, "load_model", load_model)
    monkeypatch.chdir(corpus.parent)
    exec(compile(code, "page", "exec"), {})
    assert loaded == [(("smollm2-135m",), {"dtype": "float32", "revision": None})]
    first, second = (Corpus.open(f"{corpus}{end}") for end in ("", "_again"))
    assert first.example_ids == second.example_ids
    for one, other in zip(first, second, strict=True):
        assert one.tokens.equal(other.tokens) and one.scores.keys() == other.scores.keys()
    assert first.manifest["configuration"] == second.manifest["configuration"]


def test_text_from_files_is_escaped(documents, pages):
    assert html.escape(folders.HOSTILE, quote=False) in documents["questions"]
    assert f"<h1>{html.escape(folders.TITLE)}</h1>" in documents["questions"]
    assert "<script>window.hacked" not in documents["questions"]
    assert "<b>fixed_random" not in "".join(pages["answers"].values())


def test_questions_that_changed_are_not_shown(tmp_path):
    folder, file = folders.questions(tmp_path / "grid"), tmp_path / "questions.json"
    opened = open_grid(folder)
    ((_, text, rows),) = questions_section(opened)
    assert text == f"6 questions of {file.name}." and rows["question"][0] == folders.HOSTILE
    file.write_text(file.read_text().replace("book 3", "tome 3"))
    _read.cache_clear()  # a file is read once in a process
    ((_, text, rows),) = questions_section(opened)
    assert "is not here, or was changed since" in text and rows[""]["numbers"] == "0, 1, 2, 3, 4, 5"


def half_done(path, n_cells):
    """A grid of needles that was stopped."""

    class Stops(folders.Worker):
        def __call__(self, cell, inputs):
            nonlocal n_cells
            n_cells -= 1
            if n_cells < 0:
                raise KeyboardInterrupt
            return super().__call__(cell, inputs)

    with pytest.raises(KeyboardInterrupt):
        run_fake(path, Stops(folders.NEEDLES), folders.NEEDLES)
    return path


@pytest.mark.parametrize(("n_cells", "heading"), [(0, None), (2, None), (9, "How dynamic")])
def test_a_half_done_grid_says_how_much_is_done(tmp_path, n_cells, heading):
    document = report(half_done(tmp_path, n_cells), progress=False)
    found = sections(document)
    assert f"not finished: {n_cells} of 28 cells are done" in document
    assert f"Not finished: {n_cells} of 28 cells are done (stopped" in words(found["What was run"])
    assert "Make it again" in found
    assert any(name.startswith("How dynamic") for name in found) == bool(heading)
    if heading:
        frame = load_results(tmp_path, partial=True)
        rows = table(found["Responses under every condition"])
        assert rows["none"][-1] == str((frame.condition == "none").sum()) == "5"


def test_a_damaged_cell_is_refused(needles, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(needles, folder)
    cell = next((folder / "cells").glob("own-*"))
    cell.write_text(cell.read_text().replace("partial", "exact", 1))
    with pytest.raises(FileFormatError, match="do not count: 1, the first: .*run the same"):
        report(folder, progress=False)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"manifest\.json is damaged"):
        report(folder, progress=False)


def test_a_damaged_trace_is_refused(corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus, folder)
    trace = next((folder / "traces").iterdir())
    trace.write_bytes(trace.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match="call collect again"):
        report(folder, progress=False)
    shutil.rmtree(folder / "traces")
    with pytest.raises(InputError, match="no trace yet"):
        report(folder, progress=False)


def test_what_is_no_folder_of_results(tmp_path, needles):
    with pytest.raises(InputError, match="holds no results: .*manifest.json.*corpus.json"):
        report(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="holds no results"):
        report(tmp_path)
    with pytest.raises(InputError, match=r"notes\.txt is a file; wanted a folder"):
        report(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="is not there"):
        report(tmp_path / "nowhere")
    with pytest.raises(InputError, match="correlations are of a corpus"):
        report(needles, cca=True)


def test_a_task_without_a_report(needles, monkeypatch):
    from retrieval_lens.report import document

    monkeypatch.delitem(document.KINDS, "needle")
    with pytest.raises(UnknownNameError, match="no report of the task 'needle'; known: questions"):
        report(needles)


def invoked(*arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_the_command_writes_the_page_and_changes_nothing(answers, documents, tmp_path):
    out = tmp_path / "page.html"
    before = {one: one.read_bytes() for one in answers.rglob("*") if one.is_file()}
    found = invoked(answers, "--out", out)
    assert found.exit_code == 0, found.output
    assert found.output.replace("\n", "") == str(out)
    drawn = re.compile(r"(figure|circuits-vis)-[\w-]+")
    assert drawn.sub("", out.read_text("utf-8")) == drawn.sub("", documents["answers"])
    assert {one: one.read_bytes() for one in answers.rglob("*") if one.is_file()} == before


def test_where_the_command_writes(monkeypatch, tmp_path):
    asked = []

    def page(folder, **options):
        asked.append(options)
        return "a page, ünicode"

    monkeypatch.setattr("retrieval_lens.report.report", page)
    found = invoked(tmp_path, "--title", "Mine", "--cca")
    assert found.exit_code == 0, found.output
    assert (tmp_path / "report.html").read_text("utf-8") == "a page, ünicode"
    assert asked == [{"title": "Mine", "cca": True}]
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    refused = invoked(tmp_path, "--out", tmp_path / "page.txt")
    assert isinstance(refused.exception, InputError) and len(asked) == 1
    assert "--out ends in .html" in str(refused.exception)


def test_of_two_equal_prompts_one_counts_and_draws_are_no_units():
    rows = {
        "model": "m",
        "valid": True,
        "condition": ["none", "random", "random"] * 3,
        "k": None,
        "draw": [None, 0, 1] * 3,
        "example_id": [*"aaabbbccc"],
        "prompt": [*"pppqqqppp"],
        "exact": [1, 1, 0, 0, 1, 1, 0, 0, 0],
    }
    runs = runs_of(pd.DataFrame(rows), "m")
    assert set(runs["unit"]) == {"a", "b"}
    (row,) = contrasts(runs, "exact", "none").to_dict("records")
    # a: (1 + 0) / 2 - 1, b: 1 - 0
    assert row["n_pairs"] == 2 and row["difference"] == pytest.approx((-0.5 + 1) / 2)


def test_a_draw_is_a_mean_over_units_not_over_layouts():
    """Draw 0: question a has two layouts, 1 and 0, b has 1; draw 1: 0 and 0."""
    rows = {
        "model": "m",
        "valid": True,
        "condition": "random",
        "k": None,
        "draw": [0, 0, 0, 1, 1],
        "question_id": [*"aabab"],
        "example_id": [*"pqrst"],
        "exact": [True, False, True, False, False],
    }
    drawn = draws_table(runs_of(pd.DataFrame(rows), "m"), {"exact": "exact"})
    assert drawn.loc["random"].tolist() == [2, "0.000 to 0.750"]


def test_paths_of_this_machine_are_not_sent(documents, questions):
    """But for the configuration of a grid as it was given, and ids of the fake worker."""
    spared = ("Make it again", "What was written")
    for name, document in documents.items():
        for heading, section in sections(document).items():
            is_sent = str(questions.parent.parent) in section
            assert heading in spared or not is_sent, (name, heading)
    assert "digest of questions.json" in documents["questions"]
    assert _digests({"probe /a/x.pt": "1", "probe /b/x.pt": "2", "own": "3"}) == {
        "digest of probe x.pt": "1",
        "digest of probe x.pt (2)": "2",
        "digest of own": "3",
    }


def test_a_difference_below_zero_turns_its_interval_round():
    row = {"condition": "static", "baseline": "dynamic", "measure": "effect_retrieval"}
    row |= {"difference": -0.5, "low": -0.75, "high": -0.25, "p_holm": 0.2, "n_pairs": 1}
    assert sentence(row, "prompt", "") == (
        "Masking dynamic costs 0.500 nats less than masking static (95 % interval 0.250 to 0.750, "
        "1 prompt): no difference shown."
    )
    row |= {"baseline": "dynamic_k k=0", "low": math.nan, "high": math.nan}
    assert sentence(row, "prompt", "") == (
        "Masking static costs 0.500 nats more than masking nothing (1 prompt, too few for an "
        "interval): not tested."
    )
    assert verdict(row) == "not tested" and verdict(row | {"low": -1.0}) == "no difference shown"


def test_what_is_to_be_copied_is_escaped():
    assert Code.of("a\n<b>").to_html(border=0) == "<pre><code>a\n&lt;b&gt;</code></pre>"


@pytest.mark.parametrize(
    ("truncated", "exact", "wanted"),
    [([1, 1], [0, 0], True), ([1, 1], [0, 1], False), ([1, 0], [0, 0], False), ([], [], False)],
)
def test_responses_that_were_all_cut_short(truncated, exact, wanted):
    clean = pd.DataFrame({"series": "none", "truncated": truncated, "exact": exact})
    masked = pd.DataFrame({"series": ["dynamic"], "truncated": [0], "exact": [1]})
    assert ablations._cut_short(pd.concat([clean, masked])) == wanted


def test_where_all_were_cut_short_answers_get_a_warning(needles, monkeypatch):
    warning = "Without a mask no response holds the answer, and all were cut"
    for cut in (True, False):
        monkeypatch.setattr(ablations, "_cut_short", lambda runs, cut=cut: cut)
        parts = {heading: text for heading, text, _ in ablations.verdicts(open_grid(needles))}
        assert warning not in parts["Verdict: single-step effect"]
        assert (warning in parts["Verdict: exact answers"]) == cut


def test_contrasts_that_were_tested_and_those_that_were_not():
    row = {"baseline": "dynamic", "measure": "exact", "p_holm": 1.0, "n_pairs": 4}
    tested = row | {"condition": "a", "difference": 0.25, "low": -0.5, "high": 0.5}
    single = row | {"condition": "b", "difference": 0.5, "low": math.nan, "high": math.nan}
    assert told(pd.DataFrame([tested, single]), "prompt", "exact") == [
        "No difference shown beside dynamic: a 0.250 (-0.500 to 0.500).",
        "Too few to be tested, differences of the means beside dynamic: b 0.500.",
    ]
