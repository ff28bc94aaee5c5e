"""Every recipe of `docs/adding/`, done once from nothing; each number against another way to it."""

import sys
from types import ModuleType

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens import rag
from retrieval_lens.ablation.modes import MODES
from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.experiments import grid as grids
from retrieval_lens.experiments import load_results, register_grid
from tests.adding.pages import FOLDER, run_page, tiny
from tests.rag.fake_reader import FakeReader
from tests.rag.fake_reader import example as fake_example

REGISTRIES = (rag.STRATEGIES, rl.tasks.READERS, rl.tasks.NEEDLE_FORMATS, MODES, grids._TASKS)


@pytest.fixture
def _registries():
    """What a page registers goes when its test ends."""
    before = [dict(registry) for registry in REGISTRIES]
    yield
    for registry, content in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(content)


@pytest.fixture
def page(request, monkeypatch, tmp_path, _registries):
    """What the page's blocks define, run on the tiny model in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rl, "load_model", lambda name: tiny())
    module = ModuleType(f"docs.adding.{request.param}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look there
    return run_page(request.param)


def recipe(name):
    return pytest.mark.parametrize("page", [name], indirect=True)


def test_every_recipe_is_done_here():
    here = {name.split("_")[1] for name in globals() if name.startswith("test_")} - {"every"}
    assert here == {path.stem for path in FOLDER.glob("*.md")}


def patterns(example):
    """`[layer, head, key_pos]` of the last prompt token, from TransformerLens' own cache."""
    model = tiny()
    with torch.inference_mode():
        _, cache = model.run_with_cache(example.token_ids[None])
    return torch.stack([cache["pattern", layer][0, :, -1] for layer in range(model.cfg.n_layers)])


@recipe("score")
def test_score(page):
    row = patterns(rl.needle_example(tiny().tokenizer, 60, seed=0)).double()
    by_hand = torch.special.entr(row).sum(-1)  # [layer, head]
    found = page["trace"].scores["entropy"][0].double()
    torch.testing.assert_close(found, by_hand, atol=1e-4, rtol=0)
    assert found.max() > 2 * found.min() > 0
    assert page["trace"].provenance["scores"]["entropy"]["class"] == "Entropy"


@recipe("mode")
def test_mode(page):
    assert page["effect"].attrs["mode"]["mode"] == "half"
    whole = rl.Ablator(tiny()).step_effect(page["example"], ["L1H2"], max_new_tokens=1)
    half = page["ablator"].step_effect(page["example"], ["L1H2"], max_new_tokens=1)
    assert float(half.kl.iloc[0]) > 0 and float(half.kl.iloc[0]) != float(whole.kl.iloc[0])


@recipe("control")
def test_control(page):
    frame = page["effects"]
    counts = frame.pivot(index="step", columns="condition", values="n_heads")
    trace = rl.RetrievalTracer(tiny(), [rl.CopyPaste()]).trace(page["example"], 4)
    active = trace.active("copy_paste")
    n_heads = tiny().cfg.n_heads
    assert counts["dynamic"].tolist() == active.sum((1, 2)).tolist()
    assert counts["whole layers"].tolist() == (active.any(2).sum(1) * n_heads).tolist()


@recipe("strategy")
def test_strategy(page):
    whole_layer = page["WholeLayer"]
    assert "whole_layer" not in rag.STRATEGIES
    assert page["answers"]["layer 2"][0].provenance["strategy"] == {
        "name": "whole_layer",
        "layer": 2,
    }
    peaks = {(1, 0): {14: 0.9}, (1, 2): {60: 0.6}, (0, 1): {30: 1.0}}
    reader = FakeReader(["Rain FELL.", "Gulls cried. |"], peaks)
    settings = rag.Settings(n_positions=2, radius=1)
    found = rag.run(reader, fake_example(), whole_layer(layer=1), settings)
    assert found.rounds[0].positions == (14, 60)
    assert found.rounds[0].windows == ((13, 16), (59, 62))
    assert found.rounds[0].heads == ((1, 0), (1, 1), (1, 2))
    with pytest.raises(InputError):
        reader = FakeReader(["Rain FELL.", "Gulls cried. |"], peaks)
        rag.run(reader, fake_example(), whole_layer(layer=5), settings)


@recipe("strategy")
def test_strategy_by_name(page):
    rag.register_strategy(page["WholeLayer"])
    assert rag.strategy_named("whole_layer") is page["WholeLayer"]
    with pytest.raises(InputError, match="already"):
        rag.register_strategy(page["WholeLayer"])
    grid = rl.experiments.RagGrid(strategies=["whole_layer"], questions=1)
    assert [variant.condition for variant in grid.stage_variants(grid.stages[0])] == ["whole_layer"]


@recipe("detector")
def test_detector(page):
    found, threshold = page["found"], page["Peak"]().threshold
    assert found.detector["name"] == "peak of reasoning" and found.n_samples == 2
    assert found.share == float((page["by_hand"] >= threshold).double().mean())
    assert found.details["n_steps"] == [float(trace.n_steps) for trace in page["traces"]]
    best = divmod(int(page["by_hand"].argmax()), tiny().cfg.n_heads)
    assert tuple(next(iter(found.heads(1)))) == best
    with pytest.raises(InputError):
        rl.Ablator(tiny()).step_effect(page["examples"][0], found.heads(2), max_new_tokens=1)


@recipe("task")
def test_task_prompts(page):
    example, needle = page["example"], page["needle"]
    decoded = tiny().tokenizer.decode(example.token_ids[example.evidence])
    assert example.evidence_text in decoded and example.answer in example.evidence_text
    assert needle.evidence_text == f"The code of the door is {needle.answer}."
    assert needle.answer.isdecimal() and len(needle.answer) == 5
    question = page["questions"][0]
    assert question.evidence_text == "She lives in Bergen. Bergen is a town in Norway."
    assert question.answer == "Norway" and question.meta["answer_in_facts"]
    assert "door_code" not in rl.tasks.NEEDLE_FORMATS and "quiz" not in rl.tasks.READERS


@recipe("task")
def test_task_errors_name_record_and_field(page):
    rl.tasks.register_reader(rl.tasks.Reader("quiz", page["quiz_question"], lines=True))
    broken = {name: value for name, value in page["record"].items() if name != "says"}
    with pytest.raises(FileFormatError, match=r"record 0 of the records has no field 'says'"):
        rl.tasks.hotpotqa.load([broken], tiny().tokenizer, reader="quiz")


@recipe("task")
def test_task_grid(page):
    frame, grid = page["results"], page["grid"]
    assert sorted(set(frame.condition)) == ["dynamic", "none", "static_by_count"]
    assert sorted(set(frame.seed)) == [0, 1]
    traces = [
        rl.RetrievalTracer(tiny()).trace(grid.example(tiny().tokenizer, p), 2)
        for p in grid.places(detection=False)
    ]
    clean = frame[frame.condition == "none"].sort_values("seed")
    assert clean.exact.tolist() == [trace.metrics["exact"] for trace in traces]
    register_grid(page["CatGrid"])
    assert len(load_results("cats")) == len(frame)
