"""A corpus against the tracer, and against what may happen to it on the way."""

import gc
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.corpora import Corpus, collect
from retrieval_lens.corpora import corpus as corpus_module
from retrieval_lens.errors import (
    ContextLengthError,
    FileFormatError,
    InputError,
    NumericalError,
    UnknownNameError,
)
from tests.corpora.killed import MODEL, STEPS, examples
from tests.tiny_models import tiny_bridge


@pytest.fixture(scope="module")
def bridge():
    return tiny_bridge(MODEL)


@pytest.fixture(scope="module")
def whole(bridge, tmp_path_factory):
    """Six examples, collected without disturbance."""
    return collect(
        bridge, examples(6), tmp_path_factory.mktemp("c") / "whole", max_new_tokens=STEPS
    )


def assert_same(corpus, other):
    """Equal up to the order of additions, which depends on what ran in one batch."""
    assert corpus.example_ids == other.example_ids
    for ours, theirs in zip(corpus, other, strict=True):
        assert ours.tokens.equal(theirs.tokens)
        assert torch.allclose(ours.hidden, theirs.hidden, atol=1e-4)
        for name in ("copy_paste", "reasoning"):
            assert torch.allclose(ours.scores[name], theirs.scores[name], atol=1e-5)


def test_its_traces_are_those_of_the_tracer(bridge, whole):
    tracer = rl.RetrievalTracer(bridge)
    assert len(whole) == 6 and sorted(whole.example_ids) == sorted(e.id for e in examples(6))
    for example in examples(6):
        found = next(t for t in whole if t.provenance["example"]["id"] == example.id)
        expected = tracer.trace(example, STEPS)
        assert found.tokens.equal(expected.tokens)
        for name in ("copy_paste", "reasoning"):
            assert torch.allclose(found.scores[name], expected.scores[name], atol=1e-5)
            assert found.active(name).equal(expected.active(name))
        assert torch.allclose(found.hidden, expected.hidden, atol=1e-4)
        assert found.top_positions.shape[-1] == 1


def test_it_is_a_sequence_that_analyses_take(whole):
    assert whole[-1].tokens.equal(whole[5].tokens)
    assert [t.text for t in whole[1:3]] == [whole[1].text, whole[2].text]
    with pytest.raises(IndexError):
        whole[6]
    found = rl.analysis.trajectories(whole, "reasoning")
    assert [one.example_id for one in found] == whole.example_ids
    assert found[2].hidden.equal(whole[2].hidden)
    assert found[2].inputs.tolist() == [int(whole[2].token_ids[-1]), *whole[2].tokens[:-1].tolist()]


def test_traces_are_read_one_at_a_time(whole, monkeypatch):
    alive, most, read = weakref.WeakSet(), [], corpus_module.read_trace

    def counting(path):
        trace = read(path)
        alive.add(trace)
        gc.collect()
        most.append(len(alive))
        return trace

    monkeypatch.setattr(corpus_module, "read_trace", counting)
    for trace in whole:
        del trace
    assert len(most) == 6 and max(most) <= 2


def test_it_grows_and_does_not_depend_on_order(bridge, whole, tmp_path):
    six = examples(6)
    collect(bridge, six[3:], tmp_path, max_new_tokens=STEPS, batch_size=2)
    before = {f.name: f.stat().st_mtime_ns for f in Corpus.open(tmp_path).files}
    grown = collect(bridge, six[::-1], tmp_path, max_new_tokens=STEPS)
    assert_same(grown, whole)
    after = {f.name: f.stat().st_mtime_ns for f in grown.files}
    assert before.items() <= after.items(), "what was there is not traced again"


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(bridge, whole, tmp_path, monkeypatch):
    saved, save = [], rl.Trace.save

    def full_disk(self, path):
        if len(saved) == 3:
            raise OSError(28, "No space left on device")
        saved.append(path)
        return save(self, path)

    monkeypatch.setattr(rl.Trace, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        collect(bridge, examples(6), tmp_path, max_new_tokens=STEPS, batch_size=1)
    assert len(Corpus.open(tmp_path)) == 3
    monkeypatch.setattr(rl.Trace, "save", save)
    ids = []
    trace_many = rl.RetrievalTracer.trace_many

    def watched(self, part, *args, **options):
        ids.extend(one.id for one in part)
        return trace_many(self, part, *args, **options)

    monkeypatch.setattr(rl.RetrievalTracer, "trace_many", watched)
    again = collect(bridge, examples(6), tmp_path, max_new_tokens=STEPS, batch_size=1)
    assert len(ids) == 3
    assert_same(again, whole)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.05, 0.3, 0.8])
def test_a_kill_leaves_whole_traces_only(bridge, whole, tmp_path, moment):
    command = [sys.executable, "-m", "tests.corpora.killed", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
    n_done = len(list((tmp_path / "traces").glob("*.safetensors")))
    again = collect(bridge, examples(6), tmp_path, max_new_tokens=STEPS)
    assert n_done < 6, "killed too late to show anything"
    assert_same(again, whole)
    assert not list(tmp_path.rglob("*.part"))


def test_a_damaged_trace_is_said_and_traced_anew(bridge, whole, tmp_path):
    corpus = collect(bridge, examples(6), tmp_path, max_new_tokens=STEPS)
    path = corpus.files[0]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(FileFormatError, match="call collect again, which traces it anew"):
        list(corpus)
    assert_same(collect(bridge, examples(6), tmp_path, max_new_tokens=STEPS), whole)
    assert path.with_name(path.name + ".damaged").exists()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_the_rounded_state_in_less_space(bridge, whole, tmp_path, dtype):
    half = collect(bridge, examples(6), tmp_path, max_new_tokens=STEPS, hidden_dtype=dtype)
    for ours, theirs in zip(half, whole, strict=True):
        assert ours.hidden.dtype == torch.float32
        assert ours.hidden.equal(theirs.hidden.to(getattr(torch, dtype)).float())
        assert not ours.hidden.equal(theirs.hidden)
        assert ours.scores["reasoning"].equal(theirs.scores["reasoning"])
    n_numbers = sum(trace.hidden.numel() for trace in whole)
    saved = sum(f.stat().st_size for f in whole.files) - sum(f.stat().st_size for f in half.files)
    assert abs(saved - 2 * n_numbers) < 100 * len(whole)


def test_states_that_half_precision_cannot_hold_are_an_error(tmp_path):
    bridge = tiny_bridge(MODEL)
    with torch.no_grad():
        bridge.original_model.model.norm.weight *= 1e6
    with pytest.raises(NumericalError, match="too large for float16; use bfloat16"):
        collect(bridge, examples(1), tmp_path, max_new_tokens=STEPS, hidden_dtype="float16")
    assert len(Corpus.open(tmp_path)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 3}, "max_new_tokens: 5 there, 3 now"),
        ({"hidden_at": ("blocks.0.hook_out",)}, "hidden_at: "),
        ({"hidden_dtype": "bfloat16"}, "hidden_dtype: 'float32' there, 'bfloat16' now"),
        ({"scores": [rl.CopyPaste()]}, "scores: "),
        ({"n_top": 2}, "n_top: 1 there, 2 now"),
    ],
)
def test_another_configuration_is_refused(bridge, whole, options, message):
    with pytest.raises(InputError, match=message):
        collect(bridge, examples(6), whole.path, **({"max_new_tokens": STEPS} | options))
    assert len(whole) == 6


def test_models_are_not_mixed(whole):
    """The same architecture under the same name, with other weights."""
    with pytest.raises(InputError, match=r"another configuration \(model: .*weights"):
        collect(tiny_bridge(MODEL, seed=1), examples(7), whole.path, max_new_tokens=STEPS)


def test_other_versions_are_refused_unless_asked_for(bridge, tmp_path, monkeypatch):
    from retrieval_lens.folders import version as real

    collect(bridge, examples(1), tmp_path, max_new_tokens=STEPS)
    monkeypatch.setattr("retrieval_lens.folders.version", lambda name: real(name) + "x")
    with pytest.raises(InputError, match="allow_other_versions=True"):
        collect(bridge, examples(2), tmp_path, max_new_tokens=STEPS)
    options = {"max_new_tokens": STEPS, "allow_other_versions": True}
    assert len(collect(bridge, examples(2), tmp_path, **options)) == 2
    assert len(Corpus.open(tmp_path).manifest["versions"]) == 2


def test_bad_input(bridge, whole, tmp_path):
    one = examples(1)[0]
    with pytest.raises(InputError, match="no example to collect"):
        collect(bridge, [], tmp_path)
    with pytest.raises(InputError, match="is there twice"):
        collect(bridge, [one, one], tmp_path)
    with pytest.raises(UnknownNameError, match="no hidden_dtype 'int8'; known: float32"):
        collect(bridge, [one], tmp_path, hidden_dtype="int8")
    for size in (0, -1):
        with pytest.raises(InputError, match="batch_size must be at least 1"):
            collect(bridge, [one], tmp_path, batch_size=size)
    with pytest.raises(ContextLengthError):
        collect(bridge, [one], tmp_path, max_new_tokens=10**6)
    assert not list(tmp_path.iterdir()), "nothing is written before the input is known to be good"
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="has files in it but no corpus"):
        collect(bridge, [one], tmp_path)
    other = rl.RetrievalExample(one.id, "", one.token_ids.flip(0), one.evidence, ())
    with pytest.raises(InputError, match="with another prompt"):
        collect(bridge, [other], whole.path, max_new_tokens=STEPS)


def test_a_run_that_died_before_its_manifest_goes_on(bridge, tmp_path, monkeypatch):
    from retrieval_lens import folders

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folders, "save_json", full_disk)
        with pytest.raises(OSError, match="No space left"):
            collect(bridge, examples(1), tmp_path, max_new_tokens=STEPS)
    assert (tmp_path / "traces").is_dir() and not (tmp_path / "corpus.json").exists()
    assert len(collect(bridge, examples(1), tmp_path, max_new_tokens=STEPS)) == 1


def test_a_system_that_cannot_read_is_no_damage(bridge, tmp_path, monkeypatch):
    import safetensors

    corpus = collect(bridge, examples(2), tmp_path, max_new_tokens=STEPS)

    def too_many(*args, **options):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(safetensors, "safe_open", too_many)
    with pytest.raises(OSError, match="Too many open files"):
        collect(bridge, examples(2), tmp_path, max_new_tokens=STEPS)
    assert not list(tmp_path.rglob("*.damaged*")) and len(corpus) == 2


def test_long_names_of_many_bytes(bridge, tmp_path):
    one = examples(1)[0]
    named = rl.RetrievalExample("語" * 200, "", one.token_ids, one.evidence, ())
    corpus = collect(bridge, [named], tmp_path, max_new_tokens=STEPS)
    assert corpus.example_ids == ["語" * 200]


def test_scores_of_other_parameters_are_not_mixed(bridge, whole):
    other = rl.RetrievalTracer(bridge, [rl.Reasoning(min_mass=0.5)]).trace(examples(7)[6], STEPS)
    with pytest.raises(InputError, match="different score_parameters"):
        rl.analysis.trajectories([whole[0], other], "reasoning")
    with pytest.raises(InputError, match="different score_parameters"):
        rl.analysis.dynamism([whole[0], other], score="reasoning")


def test_opening_what_is_no_corpus(tmp_path):
    with pytest.raises(InputError, match=r"holds no corpus: there is no corpus.json"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text("{}")
    with pytest.raises(FileFormatError, match="damaged"):
        Corpus.open(tmp_path)


def test_two_processes_at_once_are_refused(bridge, whole):
    from retrieval_lens.folders import locked

    with locked(whole.path), pytest.raises(InputError, match="another process is at work"):
        collect(bridge, examples(6), whole.path, max_new_tokens=STEPS)


def test_as_a_dataset(whole, tmp_path):
    rows = whole.as_dataset(tmp_path)
    assert len(rows) == sum(trace.n_steps for trace in whole)
    n = 0
    for trace in whole:
        for step in range(trace.n_steps):
            row = rows.with_format("torch")[n]
            assert row["example_id"] == trace.provenance["example"]["id"] and row["step"] == step
            assert int(row["token"]) == int(trace.tokens[step])
            before = trace.tokens[step - 1] if step else trace.token_ids[-1]
            assert int(row["input_token"]) == int(before)
            assert row["hidden:ln_final.hook_out"].equal(trace.hidden[step])
            assert row["reasoning"].equal(trace.scores["reasoning"][step])
            assert row["copy_paste:active"].bool().equal(trace.active("copy_paste")[step])
            n += 1
    assert "max_new_tokens" in rows.info.description


def test_a_dataset_follows_its_corpus(bridge, tmp_path):
    corpus = collect(bridge, examples(1), tmp_path / "c", max_new_tokens=STEPS)
    first = corpus.as_dataset()
    more = collect(bridge, examples(2), tmp_path / "c", max_new_tokens=STEPS).as_dataset()
    assert len(more) > len(first) and len(corpus) == 2
    trace = corpus[0]
    replace(trace, tokens=trace.tokens + 1).save(corpus.files[0])
    again = corpus.as_dataset()
    assert again["token"][:3] == [token + 1 for token in more["token"][:3]]


def test_a_damaged_trace_stops_the_dataset(bridge, tmp_path):
    corpus = collect(bridge, examples(2), tmp_path / "c", max_new_tokens=STEPS)
    corpus.files[1].write_bytes(b"cut")
    with pytest.raises(FileFormatError, match="call collect again"):
        corpus.as_dataset()


def test_an_empty_corpus_has_no_dataset(bridge, whole, tmp_path):
    corpus = collect(bridge, examples(1), tmp_path, max_new_tokens=STEPS)
    corpus.files[0].unlink()
    with pytest.raises(InputError, match="is empty"):
        corpus.as_dataset()
