import errno
import pickle

import pytest
import torch
from safetensors.torch import save_file

import retrieval_lens as rl
from retrieval_lens import files
from retrieval_lens.errors import FileFormatError
from retrieval_lens.tracing import trace_file
from tests.tiny_models import tiny_bridge
from tests.tracing.test_families import example


@pytest.fixture(scope="module")
def trace():
    hidden_at = ("ln_final.hook_out", "blocks.1.hook_out")
    return rl.RetrievalTracer(tiny_bridge("llama-gqa"), hidden_at=hidden_at).trace(example(), 6)


def test_everything_comes_back(trace, tmp_path):
    path = trace.save(tmp_path / "a.safetensors")
    back = rl.Trace.load(path)
    for name in trace_file.TENSORS:
        assert torch.equal(getattr(back, name), getattr(trace, name))
    for group in trace_file.GROUPS:
        ours, theirs = getattr(trace, group), getattr(back, group)
        assert list(ours) == list(theirs)
        for name, value in ours.items():
            assert torch.equal(value.nan_to_num(-9), theirs[name].nan_to_num(-9))
    for name in trace_file.FIELDS:
        assert getattr(back, name) == getattr(trace, name)
    assert back.provenance == trace.provenance
    assert back.active("reasoning").equal(trace.active("reasoning"))
    again = back.save(tmp_path / "b.safetensors")
    assert again.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_a_trace_prints_as_one_line(trace):
    shown = repr(trace)
    assert "\n" not in shown and len(shown) < 250
    assert shown.startswith(f"Trace({trace.provenance['model']['name']}, ")
    assert f"{len(trace.token_ids)} prompt tokens, {trace.n_steps} steps" in shown
    assert "scores: copy_paste, reasoning, text=" in shown


def test_a_truncated_file(trace, tmp_path):
    path = trace.save(tmp_path / "a.safetensors")
    whole = path.read_bytes()
    for keep in (0, 4, 200, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(FileFormatError, match="not a whole safetensors file"):
            rl.Trace.load(path)


def test_a_flipped_bit(trace, tmp_path):
    path = trace.save(tmp_path / "a.safetensors")
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(FileFormatError, match="does not match its checksum"):
        rl.Trace.load(path)


def test_a_changed_header(trace, tmp_path):
    path = trace.save(tmp_path / "a.safetensors")
    whole = path.read_bytes()
    assert whole.count(b'max_new_tokens\\":6') == 1
    path.write_bytes(whole.replace(b'max_new_tokens\\":6', b'max_new_tokens\\":9'))
    with pytest.raises(FileFormatError, match="does not match its checksum"):
        rl.Trace.load(path)


def test_a_pickle_by_another_name_is_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("executed",))

    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileFormatError, match="if it is a pickle, it is not read"):
        rl.Trace.load(path)


def test_foreign_and_later_files(trace, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(2)}, path)
    with pytest.raises(FileFormatError, match="not a trace of this package"):
        rl.Trace.load(path)
    for text in ("{", "[]", "{}"):
        save_file({"x": torch.ones(2)}, path, metadata={files.KEY: text})
        with pytest.raises(FileFormatError, match="is damaged, or not a trace"):
            rl.Trace.load(path)
    files.save_tensors(path, "trace", {}, {}, version=99)
    with pytest.raises(FileFormatError, match="retrieval_lens.trace' 99, wanted .*trace 1"):
        rl.Trace.load(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        rl.Trace.load(tmp_path / "nowhere")


def rewritten(trace, path, change):
    """A file with a right checksum whose parts `change` has tampered with."""
    tensors, header = files.load_tensors(trace.save(path), "trace")
    change(header, tensors)
    files.save_tensors(path, "trace", tensors, header)


def test_missing_and_disagreeing_parts(trace, tmp_path):
    path = tmp_path / "a.safetensors"
    rewritten(trace, path, lambda header, tensors: tensors.pop("scores/copy_paste"))
    with pytest.raises(FileFormatError, match="lacks a part of a trace.*copy_paste"):
        rl.Trace.load(path)

    def shorten(header, tensors):
        tensors["scores/copy_paste"] = tensors["scores/copy_paste"][:-1].clone()

    rewritten(trace, path, shorten)
    with pytest.raises(FileFormatError, match=r"disagree: steps \{5, 6\}"):
        rl.Trace.load(path)


def test_a_full_disk_leaves_the_old_file(trace, tmp_path, monkeypatch):
    path = trace.save(tmp_path / "a.safetensors")
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        trace.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
