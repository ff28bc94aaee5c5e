"""`load_model`: every source, raw weights, and an error with a reason for what cannot be loaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import errors as hub_errors
from safetensors.torch import load_file, save_file

from retrieval_lens.errors import (
    CheckpointError,
    InputError,
    UnknownNameError,
    UnsupportedModelError,
)
from retrieval_lens.models import load_model, model_info
from tests.models.conftest import toy_tokenizer
from tests.tiny_models import FAMILIES, VOCABULARY, tiny_hf

IDS = torch.randint(0, VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(2))


def load(place, **options):
    return load_model(place, device=options.pop("device", "cpu"), progress=False, **options)


def eager(family):
    reference = tiny_hf(family)
    reference.set_attn_implementation("eager")
    with torch.no_grad():
        return reference(IDS).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_its_own_logits(family):
    hf = tiny_hf(family)
    bridge = load_model(hf_model=hf)
    assert bridge.original_model is hf
    assert not bridge.compatibility_mode
    with torch.no_grad():
        difference = (bridge(IDS) - eager(family)).abs().max()
    assert difference <= (5e-5 if family == "gpt2" else 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_from_a_folder(family, tmp_path, tokenizer):
    tiny_hf(family).save_pretrained(tmp_path)
    bridge = load(tmp_path, tokenizer=tokenizer)
    with torch.no_grad():
        difference = (bridge(IDS) - eager(family)).abs().max()
    assert difference <= (5e-5 if family == "gpt2" else 1e-5)
    assert model_info(bridge)["source"] == "folder"
    assert model_info(bridge)["name"] == bridge.cfg.model_name == str(tmp_path)


def test_the_model_is_in_eval_mode_and_keeps_its_gradients():
    hf = tiny_hf("gpt2").train()
    bridge = load_model(hf_model=hf)
    assert not bridge.training and not hf.training
    assert not any(module.training for module in bridge.modules())
    assert all(weight.requires_grad for weight in hf.parameters())
    assert torch.is_grad_enabled()


def test_a_folder_brings_its_tokenizer(folder):
    bridge = load(folder)
    assert bridge.tokenizer("w5 w6", add_special_tokens=False).input_ids == [5, 6]


def test_a_tokenizer_that_is_passed_in_stays_as_it_was(folder):
    mine = toy_tokenizer()
    mine.chat_template = "{{ messages[0].content }}!"
    mine.add_tokens("new")
    before = json.dumps(mine.init_kwargs, default=str)
    for bridge in (
        load(folder, tokenizer=mine),
        load_model(hf_model=tiny_hf("gpt2"), tokenizer=mine),
    ):
        used = bridge.tokenizer
        assert used("w5 new").input_ids == [5, 199]
        assert (
            used.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi!"
        )
        assert used.pad_token_id == used.eos_token_id
    assert mine.pad_token is None
    assert json.dumps(mine.init_kwargs, default=str) == before


def test_without_a_tokenizer_the_bridge_has_none():
    assert load_model(hf_model=tiny_hf("gpt2")).tokenizer is None


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", torch.bfloat16])
def test_dtypes(dtype, folder):
    wanted = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype)
    bridge = load(folder, dtype=dtype)
    assert {weight.dtype for weight in bridge.original_model.parameters()} == {wanted}
    assert bridge(IDS).dtype == wanted


def test_a_saved_half_precision_model_is_float32_unless_asked(tmp_path, tokenizer):
    tiny_hf("llama-gqa").to(torch.bfloat16).save_pretrained(tmp_path)
    assert load(tmp_path, tokenizer=tokenizer).cfg.dtype == torch.float32


def test_device_map(folder):
    bridge = load_model(folder, device_map="auto", progress=False)
    with torch.no_grad():
        torch.testing.assert_close(bridge(IDS), eager("llama-gqa"), atol=1e-5, rtol=0)


def bad(match, kind=InputError, place="smollm2-135m", **options):
    with pytest.raises(kind, match=match):
        load_model(place, progress=False, **options)


def test_arguments_that_cannot_be_used(folder):
    bad("unknown dtype 'int8'; wanted one of float32", place=folder, dtype="int8")
    bad("unknown dtype", place=folder, dtype=torch.int32)
    bad("device 'tpu9' cannot be used", place=folder, device="tpu9")
    bad("device='cpu' and device_map='auto' exclude", device="cpu", device_map="auto")
    bad("revision does not apply to 'smollm2-135m'", revision="main")
    bad("revision does not apply to the folder", place=folder, revision="main")
    bad("do not apply to hf_model", hf_model=tiny_hf("gpt2"), device_map="auto")
    bad("do not apply to hf_model", hf_model=tiny_hf("gpt2"), revision="main")
    bad(
        "in torch.float32, dtype asks for torch.bfloat16",
        hf_model=tiny_hf("gpt2"),
        dtype="bfloat16",
    )
    bad("hf_model is a Linear, wanted a trans", hf_model=torch.nn.Linear(1, 1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there(folder):
    bad("device 'cuda' cannot be used", place=folder, device="cuda")


def test_a_dispatched_model_is_not_moved():
    hf = tiny_hf("gpt2")
    hf.hf_device_map = {"": "cpu"}
    bad("spread over devices", hf_model=hf, device="cpu")


def test_a_model_is_wrapped_once():
    hf = tiny_hf("llama-gqa")
    load_model(hf_model=hf)
    bad("wrapped by a bridge already", hf_model=hf)


def test_a_family_without_adapter_is_refused(tmp_path, tokenizer):
    from transformers import DebertaConfig, DebertaForMaskedLM

    config = DebertaConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = DebertaForMaskedLM(config)
    bad("no adapter for DebertaForMaskedLM", UnsupportedModelError, hf_model=model)
    model.save_pretrained(tmp_path)
    bad("no adapter for DebertaForMaskedLM", UnsupportedModelError, tmp_path, tokenizer=tokenizer)


def edit_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_configurations_that_cannot_be_used(folder):
    edit_config(folder, hidden_size=32)
    bad("other shapes than config.json says", CheckpointError, folder)
    edit_config(folder, model_type="zzz")
    bad("transformers does not know this model: .*zzz", UnsupportedModelError, folder)
    (folder / "config.json").write_text("{")
    bad("config.json cannot be read", CheckpointError, folder)
    (folder / "config.json").unlink()
    bad("saved has no config.json", CheckpointError, folder)


def test_code_of_a_model_is_not_run(folder):
    ran = folder / "ran"
    (folder / "theirs.py").write_text(
        f"open({str(ran)!r}, 'w').close()\n"
        "from transformers import LlamaConfig\n"
        "class Theirs(LlamaConfig):\n    model_type = 'theirs'\n"
    )
    edit_config(folder, model_type="theirs", auto_map={"AutoConfig": "theirs.Theirs"})
    bad("code of its own; pass trust_remote_code=True", UnsupportedModelError, folder)
    assert not ran.exists()


def test_damaged_weights_are_named(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:5000], whole[:3], b"", whole + b"more"):
        weights.write_bytes(content)
        bad(r"model.safetensors is not a whole safetensors file", CheckpointError, folder)
    torch.save({"lm_head.weight": torch.zeros(3)}, weights)
    bad(r"model.safetensors is not a whole safetensors file", CheckpointError, folder)


def test_a_weight_in_no_file_is_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    bad("1 weights are in no file, such as model.layers.1.mlp.up_proj", CheckpointError, folder)


def test_shards(tmp_path, tokenizer):
    tiny_hf("llama-gqa").save_pretrained(tmp_path, max_shard_size="200KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    with torch.no_grad():
        difference = (load(tmp_path, tokenizer=tokenizer)(IDS) - eager("llama-gqa")).abs().max()
    assert difference <= 1e-5
    shards[1].write_bytes(shards[1].read_bytes()[:-8])
    bad(shards[1].name, CheckpointError, tmp_path, tokenizer=tokenizer)
    shards[1].unlink()
    bad(f"{shards[1].name} is missing, though", CheckpointError, tmp_path, tokenizer=tokenizer)
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    bad("index.json is damaged", CheckpointError, tmp_path, tokenizer=tokenizer)


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_pickles_are_refused_unread(folder, name):
    (folder / "model.safetensors").unlink()
    torch.save({"w": Bomb(folder / "exploded")}, folder / name)
    bad("pickles|not a whole safetensors", CheckpointError, folder)
    assert not (folder / "exploded").exists()


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    bad("the weights are gone", CheckpointError, folder)


def test_a_folder_without_a_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    bad("has no tokenizer", CheckpointError, folder)
    assert load(folder, tokenizer=toy_tokenizer()).tokenizer is not None


def test_a_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")
    bad("saved cannot be loaded", CheckpointError, folder)


def test_names_that_stand_for_nothing():
    bad("no named checkpoint .known: smollm2-135m", UnknownNameError, "smolm2")
    bad("did you mean 'smollm2-135m'", UnknownNameError, "smolm2-135m")
    bad("no named checkpoint .known: smollm2-135m", UnknownNameError, "two words")
    bad("hub cannot be reached", CheckpointError, "organisation/model")
    bad("the folder '/no/such' does not exist", CheckpointError, "/no/such")
    bad("the folder './such' does not exist", CheckpointError, "./such")


def hub(monkeypatch, answer):
    """A hub that hands out a folder or raises."""
    asked = {}

    def snapshot_download(name, **options):
        asked.update(options, name=name)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return asked


def test_a_model_of_the_hub(monkeypatch, folder):
    asked = hub(monkeypatch, folder)
    bridge = load("organisation/model", revision="v1")
    info = model_info(bridge)
    assert (asked["name"], asked["revision"]) == ("organisation/model", "v1")
    assert (info["name"], info["source"]) == ("organisation/model", "hub")
    assert info["revision"] == folder.name
    assert bridge.cfg.model_name == "organisation/model"
    assert "*.bin" in asked["ignore_patterns"]


def answer_of(status):
    import httpx

    return httpx.Response(status, request=httpx.Request("GET", "https://hub.invalid"))


@pytest.mark.parametrize(
    ("raised", "kind", "match"),
    [
        (hub_errors.RepositoryNotFoundError, UnknownNameError, "no model on the hub"),
        (hub_errors.GatedRepoError, CheckpointError, "gated model: accept its terms"),
        (hub_errors.RevisionNotFoundError, CheckpointError, "has no revision 'v1'"),
    ],
)
def test_what_the_hub_refuses(monkeypatch, raised, kind, match):
    hub(monkeypatch, raised("no", response=answer_of(404)))
    bad(match, kind, "organisation/model", revision="v1")


def test_importing_is_light():
    code = "import sys, retrieval_lens.models; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "transformer_lens", "rich"} & set(done.stdout.split())


@pytest.mark.parametrize("progress", [True, False])
def test_bars_show_only_when_wanted(folder, capfd, progress):
    from transformers.utils import logging

    load_model(folder, device="cpu", progress=progress)
    assert bool(capfd.readouterr().err) == progress
    assert logging.is_progress_bar_enabled()
