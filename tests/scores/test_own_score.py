"""A score of one's own in ten lines, and a head whose score is known by construction."""

from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, GPT2Config

import retrieval_lens as rl
from retrieval_lens.scores import AttentionRows
from tests.tiny_models import tiny_bridge


@dataclass(frozen=True)
class Sharpness(rl.StepScore):
    """Attention on the most attended position."""

    name: str = "sharpness"

    def observe(self, rows: AttentionRows) -> torch.Tensor:
        return rows.pattern.max(-1, keepdim=True).values


def example(n=30):
    ids = torch.arange(n) * 13 % 199
    return rl.RetrievalExample("own", "", ids, torch.tensor([5, 6, 7]), ())


def test_own_score_travels_with_the_others(tmp_path):
    tracer = rl.RetrievalTracer(tiny_bridge("llama-gqa"), [rl.CopyPaste(), Sharpness()])
    trace = tracer.trace(example(), 6)
    torch.testing.assert_close(trace.scores["sharpness"], trace.top_weights[..., 0])
    assert trace.provenance["scores"]["sharpness"]["class"] == "Sharpness"
    assert trace.active("sharpness").equal(trace.top_weights[..., 0] > 0.5)
    again = rl.Trace.load(trace.save(tmp_path / "own.safetensors"))
    assert again.scores["sharpness"].equal(trace.scores["sharpness"])


def copying_gpt2(vocab=20, n=16, query=11, source=4):
    """One layer, two heads; head 0 looks from `query` at `source`, head 1 everywhere alike."""
    width = 2 * n
    config = GPT2Config(
        vocab_size=vocab, n_positions=n, n_embd=width, n_layer=1, n_head=2, n_inner=4
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        block = model.transformer.h[0]
        block.ln_1.weight.fill_(1.0)
        model.transformer.ln_f.weight.fill_(1.0)
        model.transformer.wpe.weight[:, :n] = torch.eye(n) * 10
        attention = block.attn.c_attn.weight  # [d_model, 3 * d_model], head 0 first in each third
        attention[query, 0] = 100.0  # query of head 0
        attention[source, width] = 100.0  # key of head 0
        model.transformer.wte.weight[7, :n] = 1.0  # token 7 wins the arg-max at every position
    return model


def test_a_hand_set_copy_head_scores_one_and_a_uniform_head_scores_chance():
    model = rl.load_model(hf_model=copying_gpt2(), check=False)  # its heads write nothing
    ids = torch.tensor([1, 2, 3, 4, 7, 5, 6, 8, 9, 10, 11, 12])
    example = rl.RetrievalExample("hand", "", ids, torch.tensor([3, 4, 5]), ())
    tracer = rl.RetrievalTracer(model, [rl.CopyPaste(), rl.Reasoning(n_sink=1, n_local=2)])
    trace = tracer.trace(example, max_new_tokens=1)
    assert trace.tokens.tolist() == [7]
    assert trace.scores["copy_paste"].tolist() == [[[1.0, 0.0]]]
    copying, uniform = trace.scores["reasoning"][0, 0].tolist()
    assert abs(copying - 1) < 1e-5
    assert abs(uniform - 3 / 9) < 1e-5 and abs(float(trace.chance["reasoning"]) - 3 / 9) < 1e-6
    assert trace.top_positions[0, 0, 0, 0] == 4
