import hashlib
import json

import pytest

from retrieval_lens.errors import FileFormatError, InputError, UnknownNameError
from retrieval_lens.heads import HeadSet, published_heads
from tests.tiny_models import tiny_bridge

# 2 layers of 3 heads, two samples each; means .1 .5 0 / 1.2 .5 .05
SAMPLES = {
    "1-0": [1.0, 1.4],
    "1-1": [1, 0],
    "0-0": [0.2, 0],
    "0-1": [0.4, 0.6],
    "0-2": [0, 0],
    "1-2": [0.1, 0.0],
}
QRHEAD = """# Default configuration

attn_head_set: "13-18,8-11,0-1" # top3
model_base_class: "Llama-3.1-8B-Instruct"
model_name_or_path: "meta-llama/Llama-3.1-8B-Instruct"
"""
GATES = "0.9\t-1e-4\n2.5e-01\t1.000e+00\n0.0\t0.9\n"  # 3 layers of 2 KV heads


@pytest.fixture
def file(tmp_path):
    def write(content, name="list.txt"):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("format", "detector"), [("wu", "Wu et al. 2024"), ("headkv", "HeadKV, Fu et al. 2024")]
)
def test_samples_are_averaged_and_ties_go_to_layer_then_head(file, format, detector):
    path = file(json.dumps(SAMPLES))
    heads = published_heads(path, format)
    assert str(heads) == "L1H0 L0H1 L1H1 L0H0 L1H2 L0H2"
    assert heads.scores == pytest.approx([1.2, 0.5, 0.5, 0.1, 0.05, 0.0])
    assert heads.example_ids == ()
    assert heads.provenance == {
        "detector": detector,
        "format": format,
        "file": "list.txt",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "n_listed": 6,
        "n_layers": 2,
        "n_heads": 3,
        "n_samples": 2,
    }


def test_top_k_and_a_saved_set(file, tmp_path):
    heads = published_heads(str(file(json.dumps(SAMPLES))), k=2)
    assert str(heads) == "L1H0 L0H1" and len(heads.scores) == 2
    loaded = HeadSet.load(heads.save(tmp_path / "set.json"))
    assert loaded.heads == heads.heads and loaded.provenance == heads.provenance
    for k in (0, 7, -1, "2", 1.5, True):
        with pytest.raises(InputError, match=r"k must be in 1\.\.6"):
            published_heads(file(json.dumps(SAMPLES)), k=k)


def test_a_ranking_keeps_its_order_and_has_no_scores(file):
    heads = published_heads(file(QRHEAD), "qrhead")
    assert str(heads) == "L13H18 L8H11 L0H1" and heads.scores is None
    assert heads.provenance["published_for"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert heads.provenance["detector"] == "QRHead, Zhang et al. 2025"
    assert (heads.provenance["n_layers"], heads.provenance["n_heads"]) == (32, 32)
    unnamed = published_heads(file('attn_head_set: "1-2, 3-4"\n'), "qrhead", k=1)
    assert str(unnamed) == "L1H2"
    assert unnamed.provenance["published_for"] is None and "n_layers" not in unnamed.provenance


def test_a_kv_head_stands_for_its_group_of_query_heads(file):
    heads = published_heads(file(GATES), "duo", model=(3, 6, 2))
    by_head = dict(zip(heads, heads.scores, strict=True))
    expected = [[0.9] * 3 + [0.0] * 3, [0.25] * 3 + [1.0] * 3, [0.0] * 3 + [0.9] * 3]
    assert {(i, j): expected[i][j] for i in range(3) for j in range(6)} == by_head
    assert str(heads.top(7)) == "L1H3 L1H4 L1H5 L0H0 L0H1 L0H2 L2H3"
    grouping = {"n_kv_heads": 2, "query_heads_per_kv_head": 3}
    assert heads.provenance["grouping"] == grouping


def test_the_grouping_is_that_of_transformers(file):
    """A tiny model with 4 query heads on 2 KV heads: repeat_kv gives 0 0 1 1."""
    import torch
    from transformers.models.llama.modeling_llama import repeat_kv

    bridge = tiny_bridge("llama-gqa")
    heads = published_heads(file(GATES), "duo", model=bridge)
    gates = torch.tensor([[0.9, 0.0], [0.25, 1.0], [0.0, 0.9]])
    theirs = repeat_kv(gates.view(3, 2, 1, 1), 2).view(3, 4)
    for head, score in zip(heads, heads.scores, strict=True):
        assert score == pytest.approx(theirs[head].item())
    with pytest.raises(InputError, match="another architecture"):
        published_heads(file(GATES), "duo", model=tiny_bridge("llama-mha"))


def info(n_layers, n_heads, n_kv_heads):
    return {"n_layers": n_layers, "n_heads": n_heads, "n_key_value_heads": n_kv_heads}


@pytest.mark.parametrize(
    ("content", "format", "good", "bad"),
    [
        (json.dumps(SAMPLES), "wu", (2, 3), [(2, 4), (3, 3), (3, 2), info(4, 4, 2)]),
        (json.dumps(SAMPLES), "headkv", info(2, 3, 1), [(2, 4)]),
        (QRHEAD, "qrhead", info(32, 32, 8), [(13, 32), (32, 18), (16, 32), (40, 32)]),
        ('attn_head_set: "1-2,3-4"', "qrhead", (4, 5), [(3, 5), (4, 4)]),
        (GATES, "duo", info(3, 4, 2), [(2, 4, 2), (4, 4, 2), (3, 4, 4), info(3, 3, 1)]),
    ],
)
def test_a_list_for_another_architecture_is_refused(file, content, format, good, bad):
    path = file(content)
    assert len(published_heads(path, format, model=good))
    for model in bad:
        with pytest.raises(InputError, match="is for another architecture") as error:
            published_heads(path, format, model=model)
        assert str(path) in str(error.value)


def test_gates_need_the_number_of_kv_heads(file):
    for model in (None, (3, 4), {"n_layers": 3, "n_heads": 4}):
        with pytest.raises(InputError, match="pass model=, a bridge or"):
            published_heads(file(GATES), "duo", model=model)


@pytest.mark.parametrize(
    "model", ["smollm2", 3, (3,), (3, 4, 2, 1), (3, 4, 3), (3, 4.0), (0, 4), {}]
)
def test_a_model_is_a_bridge_its_info_or_a_tuple(file, model):
    with pytest.raises(InputError, match="(model is a bridge|KV heads are whole numbers)"):
        published_heads(file(GATES), "duo", model=model)


def test_all_heads_are_no_list(file):
    with pytest.raises(InputError, match="says full_heads, all heads"):
        published_heads(file('attn_head_set: "full_heads"\n'), "qrhead")


def test_unknown_format_and_no_file(file, tmp_path):
    with pytest.raises(UnknownNameError, match="no format 'csv'; known are: wu, headkv, qrhead"):
        published_heads(file("{}"), "csv")
    for missing in (tmp_path / "none.json", tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            published_heads(missing)


GOOD = json.dumps(SAMPLES)
DAMAGED = {
    "cut short": ("wu", GOOD[:-20]),
    "empty": ("wu", ""),
    "no heads": ("wu", "{}"),
    "binary": ("wu", b"\x80\x02\xff\x00"),
    "a list": ("wu", "[[0.1]]"),
    "NaN": ("wu", GOOD.replace("0.6", "NaN")),
    "infinite": ("wu", GOOD.replace("0.6", "1e999")),
    "negative": ("wu", GOOD.replace("0.6", "-0.6")),
    "text for a number": ("wu", GOOD.replace("0.6", '"0.6"')),
    "true for a number": ("wu", GOOD.replace("0.6", "true")),
    "a huge whole number": ("wu", GOOD.replace("0.6", "9" * 400)),
    "a whole number too long to read": ("wu", GOOD.replace("0.6", "9" * 9999)),
    "a list in a list": ("wu", GOOD.replace("0.6", "[0.6]")),
    "a number for a list": ("wu", GOOD.replace("[0.4, 0.6]", "0.5")),
    "no samples": ("wu", '{"0-0": []}'),
    "fewer samples of one head": ("wu", GOOD.replace("0.4, ", "")),
    "a key twice": ("wu", GOOD[:-1] + ', "0-1": [0, 0]}'),
    "a head under two keys": ("wu", GOOD[:-1] + ', "00-1": [0, 0]}'),
    "another key": ("wu", GOOD.replace('"0-1"', '"L0H1"')),
    "a head missing": ("wu", GOOD.replace('"0-1": [0.4, 0.6], ', "")),
    "a head far off": ("wu", GOOD.replace('"0-1"', '"999999-1"')),
    "nested": ("wu", "[" * 100_000),
    "headkv, cut short": ("headkv", GOOD[:-20]),
    "qrhead, cut short": ("qrhead", QRHEAD[:45]),
    "qrhead, empty": ("qrhead", ""),
    "qrhead, binary": ("qrhead", b"\xff\xfe\x00"),
    "qrhead, control characters": ("qrhead", "\x00\x01"),
    "qrhead, no list": ("qrhead", 'model_base_class: "x"\n'),
    "qrhead, an empty list": ("qrhead", 'attn_head_set: ""\n'),
    "qrhead, a list of lists": ("qrhead", "attn_head_set: [1-2]\n"),
    "qrhead, not a pair": ("qrhead", 'attn_head_set: "1-2,3"\n'),
    "qrhead, ends in a comma": ("qrhead", 'attn_head_set: "1-2,"\n'),
    "qrhead, a negative head": ("qrhead", 'attn_head_set: "1--2"\n'),
    "qrhead, a head twice": ("qrhead", 'attn_head_set: "1-2,1-2"\n'),
    "qrhead, a key twice": ("qrhead", 'attn_head_set: "1-2"\nattn_head_set: "1-3"\n'),
    "qrhead, no keys": ("qrhead", "1-2,3-4"),
    "qrhead, nested": ("qrhead", "[" * 5_000),
    "qrhead, long": ("qrhead", QRHEAD + "# more\n" * 20_000),
    "duo, cut short": ("duo", GATES[:9]),
    "duo, cut by one character": ("duo", GATES[:-1]),
    "duo, empty": ("duo", ""),
    "duo, one empty line": ("duo", "\n"),
    "duo, binary": ("duo", b"\xff\xfe\x00"),
    "duo, ragged": ("duo", GATES.replace("\t1.000e+00", "")),
    "duo, NaN": ("duo", GATES.replace("1.000e+00", "nan")),
    "duo, infinite": ("duo", GATES.replace("1.000e+00", "inf")),
    "duo, above 1": ("duo", GATES.replace("1.000e+00", "1.1")),
    "duo, below 0": ("duo", GATES.replace("1.000e+00", "-0.1")),
    "duo, no number": ("duo", GATES.replace("1.000e+00", "one")),
    "duo, spaces": ("duo", GATES.replace("\t", " ")),
    "duo, an empty line": ("duo", GATES.replace("\n", "\n\n", 1)),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_refused(file, what):
    format, content = DAMAGED[what]
    path = file(content)
    with pytest.raises(FileFormatError) as error:
        published_heads(path, format, model=(3, 4, 2) if format == "duo" else None)
    assert str(path) in str(error.value) and "damaged, or of another format" in str(error.value)
    assert len(str(error.value)) < 1000
