"""Answers on disk, and what is refused before anything runs."""

import json

import pytest
import torch

from retrieval_lens.errors import (
    ContextLengthError,
    FileFormatError,
    InputError,
    UnknownNameError,
)
from retrieval_lens.files import save_json
from retrieval_lens.rag import (
    RIND,
    Answer,
    Calibration,
    NoContext,
    OracleDynamic,
    Settings,
    answer,
    answer_many,
    calibrate_threshold,
    run,
)
from retrieval_lens.rag.answer import KIND
from tests.rag.fake_reader import TOKENIZER, FakeReader, example
from tests.tiny_models import tiny_bridge

SCRIPT = ["Rain FELL.", "Gulls cried.", "so the answer is Bob."]


@pytest.fixture
def found():
    reader = FakeReader(SCRIPT[:], {(1, 2): {14: 0.75, 60: 0.1}})
    settings = Settings(n_positions=2, radius=1, calibrated_on=["another"])
    return run(reader, example(meta={"dataset": "made up"}), OracleDynamic(k=1), settings)


def test_round_trip(found, tmp_path):
    assert found.rounds[0].heads == ((1, 2),) and found.rounds[0].windows == ((13, 16), (59, 62))
    path = found.save(tmp_path / "answer.json")
    loaded = Answer.load(path)
    assert loaded == found and loaded.rounds[0].added == found.rounds[0].added
    assert loaded.provenance["strategy"]["score"]["class"] == "Reasoning"
    assert Settings.from_json(loaded.provenance["settings"]).calibrated_on == ("another",)
    assert loaded.provenance["example"] == {
        **{"id": "fake", "answer": "Bob", "template": "plain", "prepended_bos": False},
        "dataset": "made up",
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("rounds"),
        lambda content: content["rounds"][0].pop("draft"),
        lambda content: content["rounds"][0].update(surprise=1),
        lambda content: content.update(stopped_by="whim"),
        lambda content: content.update(tokens=3),
        lambda content: content.update(rounds=["draft"]),
    ],
)
def test_foreign_content(found, tmp_path, change):
    content = json.loads(json.dumps(found.as_json()))
    change(content)
    path = save_json(tmp_path / "other.json", KIND, content)
    with pytest.raises(FileFormatError):
        Answer.load(path)


def test_damaged_files(found, tmp_path):
    path = found.save(tmp_path / "answer.json")
    path.write_text(path.read_text().replace("Gulls", "Gills", 1))
    with pytest.raises(FileFormatError, match="checksum"):
        Answer.load(path)
    with pytest.raises(FileFormatError, match="wanted retrieval_lens.rag_answer"):
        Answer.load(save_json(tmp_path / "other.json", "head_set", {}))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"rind": 1.0}, "rind is a RIND"),
        ({"draft_tokens": 0}, "draft_tokens is a whole number from 1"),
        ({"draft_sentences": 0}, "draft_sentences"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"n_positions": 0}, "n_positions"),
        ({"gap": -1}, "gap"),
        ({"radius": -1}, "radius"),
        ({"remask": "never"}, "no remask 'never'; known: after_clean_draft, always"),
        ({"stop_text": "("}, "regular expression"),
        ({"stop_text": 3}, "regular expression"),
        ({"calibrated_on": "an id"}, "list of ids"),
    ],
)
def test_bad_settings(bad, message):
    with pytest.raises(InputError, match=message):
        Settings(**bad)


def test_settings_round_trip():
    one = Settings(rind=RIND(threshold=1.3, words="all"), draft_sentences=None, remask="always")
    assert Settings.from_json(json.loads(json.dumps(one.as_json()))) == one
    with pytest.raises(InputError, match="no settings"):
        Settings.from_json({"rind": {}, "other": 1})
    with pytest.raises(UnknownNameError):
        Settings(remask=None)


@pytest.fixture(scope="module")
def model():
    bridge = tiny_bridge("llama-gqa")  # 199 words, 256 positions
    bridge.tokenizer = TOKENIZER
    return bridge


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "dynamic"}, "a strategy is one of"),
        ({"strategy": OracleDynamic(k=13)}, "has 12 heads"),
        ({"settings": {"gap": 3}}, "rag.Settings"),
        ({"settings": Settings(calibrated_on=["fake"])}, "threshold was chosen on example 'fake'"),
        ({"settings": Settings(calibrated_on=["fake@other"])}, "threshold was chosen on example"),
        ({"seed": -1}, "seed"),
        ({"example": example(context="")}, "no context"),
        ({"engine": "warp"}, "engine is"),
    ],
)
def test_what_cannot_be_answered(model, options, message):
    plain = {"example": example(), "strategy": NoContext(), "settings": Settings(max_tokens=2)}
    whole = {**plain, **options}
    with pytest.raises(InputError, match=message):
        answer(model, **whole)


def test_the_whole_must_fit_the_model(model):
    answer(model, example(), NoContext(), Settings(draft_tokens=2, max_tokens=2))
    with pytest.raises(ContextLengthError, match="256"):
        answer(model, example(), NoContext())
    calibrated = Settings(max_tokens=2, calibrated_on=["fake"], allow_overlap=True)
    assert answer(model, example(), NoContext(), calibrated).stopped_by
    with pytest.raises(ContextLengthError):
        calibrate_threshold(model, [example()], settings=Settings())
    with pytest.raises(InputError, match="no strategies"):
        answer_many(model, [example()], {})


def test_a_question_longer_than_its_context(model):
    from retrieval_lens.tasks import RetrievalExample

    short = RetrievalExample.from_text(
        TOKENIZER,
        "Read this: w0 w1. Ask: " + "who? " * 40,
        ["w0"],
        context="w0 w1.",
        answer="Bob",
    )
    settings = Settings(rind=RIND(threshold=0, words="all"), max_tokens=3)
    found = answer(model, short, OracleDynamic(k=1), settings)
    assert found.metrics["revealed_share"] in (0, 1) and len(found.tokens) <= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0}, "above 0 and below 1"),
        ({"share": 1.0}, "above 0 and below 1"),
        ({"share": "half"}, "above 0 and below 1"),
        ({"n_drafts": 0}, "n_drafts"),
        ({"settings": 3}, "rag.Settings"),
        ({"examples": []}, "at least one example"),
        ({"examples": [example(), example()]}, "each once"),
    ],
)
def test_bad_calibration(model, options, message):
    with pytest.raises(InputError, match=message):
        calibrate_threshold(model, **{"examples": [example()], **options})


def test_calibrated_settings_refuse_their_examples():
    one = Calibration(RIND(threshold=2.0), 0.5, 0.5, (1.0, 3.0), ("fake", "other"))
    settings = one.settings(Settings(gap=3))
    assert (settings.rind.threshold, settings.gap) == (2.0, 3)
    with pytest.raises(InputError, match="chosen on example 'fake'"):
        settings.require_unseen("fake")
    assert one.as_json()["rind"]["threshold"] == 2.0
    assert torch.tensor(one.as_json()["largest"]).tolist() == [1, 3]
