import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.ablation import AblatedRun, compensation, results
from retrieval_lens.ablation.generation import Row
from retrieval_lens.ablation.modes import Zero
from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.files import save_json
from retrieval_lens.heads import HeadSet
from retrieval_lens.heads.step_heads import Fixed
from tests.detectors.made import example

SETS = ("mask", "active", "active_masked", "active_masked_clean_token")
ROWS = ("tokens", "clean_tokens", "scored")
PLAIN = ("example_id", "text", "truncated", "metrics", "outcome", "provenance")


def sets(*steps, shape=(2, 3)):
    return torch.stack([HeadSet(step.split()).mask(*shape) for step in steps])


def made_run():
    """Three steps of two layers with three heads: masked, empty, masked."""
    return AblatedRun(
        example_id="needle-1",
        tokens=torch.tensor([5, 6, 2]),
        clean_tokens=torch.tensor([5, 7, 2]),
        text="a b’é",
        truncated=False,
        mask=sets("L0H0", "", "L0H0 L1H2"),
        active=sets("L0H0 L1H1", "", "L0H0 L1H2"),
        active_masked=sets("L1H1 L1H0 L0H2", "", "L0H0"),
        active_masked_clean_token=sets("L1H1 L1H0", "", "L0H0 L0H1 L1H2"),
        scored=torch.tensor([True, True, True]),
        metrics={"exact": 0.0, "answer_chars": 1 / 3},
        outcome="partial",
        provenance={"heads": {"class": "Dynamic", "k": None}, "conventions": {"scope": "query"}},
    )


def without_steps():
    nothing = torch.zeros(0, 2, 3, dtype=torch.bool)
    return AblatedRun(
        "x",
        torch.zeros(0, dtype=torch.long),
        torch.zeros(0, dtype=torch.long),
        "",
        True,
        *(nothing,) * 4,
        torch.zeros(0, dtype=torch.bool),
    )


def same(a, b):
    tensors = all(
        getattr(a, name).equal(getattr(b, name))
        and getattr(a, name).dtype == getattr(b, name).dtype
        for name in SETS + ROWS
    )
    return tensors and all(getattr(a, name) == getattr(b, name) for name in PLAIN)


def test_masked_heads_of_each_step():
    run = made_run()
    assert run.n_steps == 3
    assert [list(step) for step in run.masked] == [[(0, 0)], [], [(0, 0), (1, 2)]]
    assert run.n_masked.tolist() == [1, 0, 2]


def test_compensated_by_hand():
    """Active in the masked pass and not in the clean one, by either token."""
    run = made_run()
    own = [list(step) for step in run.compensated()]
    assert own == [[(0, 2), (1, 0)], [], []]
    clean = [list(step) for step in run.compensated(token="clean")]
    assert clean == [[(1, 0)], [], [(0, 1)]]
    with pytest.raises(InputError, match="token is 'masked' or 'clean', not 'both'"):
        run.compensated("both")


def test_m_s_is_the_largest_overlap_with_the_static_heads():
    run = made_run()
    assert compensation(run, HeadSet(["L0H2", "L1H0", "L0H0"])) == 2
    assert compensation(run, HeadSet(["L0H2", "L1H1"])) == 1  # L1H1 was active before
    assert compensation(run, HeadSet(["L0H1"])) == 0
    assert compensation(run, HeadSet(["L0H1"]), token="clean") == 1  # at another step
    assert compensation(run, HeadSet()) == 0
    assert compensation(without_steps(), HeadSet(["L0H1"])) == 0
    with pytest.raises(InputError, match="not 'both'"):
        compensation(run, HeadSet(), token="both")


def test_no_steps():
    run = without_steps()
    assert (run.n_steps, run.masked, run.compensated()) == (0, (), [])
    assert run.n_masked.tolist() == []


@pytest.mark.parametrize("run", [made_run(), without_steps()], ids=["three steps", "no steps"])
def test_everything_comes_back(run, tmp_path):
    path = run.save(tmp_path / "a.json")
    back = rl.AblatedRun.load(path)
    assert same(back, run)
    assert back.save(tmp_path / "b.json").read_bytes() == path.read_bytes()
    assert same(AblatedRun.from_json(run.as_json()), run)


def test_heads_are_written_as_pairs(tmp_path):
    content = made_run().as_json()
    assert content["mask"] == [[[0, 0]], [], [[0, 0], [1, 2]]]
    assert content["shape"] == [2, 3]
    assert content["tokens"] == [5, 6, 2]


def test_a_file_cut_short_or_altered(tmp_path):
    path = made_run().save(tmp_path / "a.json")
    whole = path.read_bytes()
    for keep in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:keep])
        with pytest.raises(FileFormatError):
            AblatedRun.load(path)
    path.write_bytes(whole.replace(b'"outcome":"partial"', b'"outcome":"exact"'))
    with pytest.raises(FileFormatError, match="does not match its checksum"):
        AblatedRun.load(path)
    path.write_bytes(pickle.dumps(whole))
    with pytest.raises(FileFormatError, match="damaged, or not a ablated_run"):
        AblatedRun.load(path)
    HeadSet(["L0H0"]).save(path)
    with pytest.raises(FileFormatError, match="head_set.*wanted retrieval_lens.ablated_run"):
        AblatedRun.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [2]},
        {"shape": "23x"},
        {"shape": [1, 3]},  # L1H2 is masked
        {"tokens": ["a", "b", "c"]},
        {"tokens": [[1], [2, 3]]},
        {"mask": 3},
        {"mask": [[[0, 0], [0, 0]], [], []]},
        {"mask": [[[0, -1]], [], []]},
        {"active": [[["a", "b"]], [], []]},
    ],
)
def test_a_sealed_file_with_nonsense_in_it(change, tmp_path):
    content = made_run().as_json() | change
    path = save_json(tmp_path / "a.json", "ablated_run", content)
    with pytest.raises(FileFormatError, match="no ablated run"):
        AblatedRun.load(path)


@pytest.mark.parametrize("name", [*SETS, *ROWS, "text", "shape", "provenance", "example_id"])
def test_a_part_is_missing(name):
    content = made_run().as_json()
    del content[name]
    with pytest.raises(FileFormatError, match=f"no ablated run.*{name}"):
        AblatedRun.from_json(content)


@pytest.mark.parametrize("content", [None, 3, "text", [], {}])
def test_something_else(content):
    with pytest.raises(FileFormatError, match="no ablated run"):
        AblatedRun.from_json(content)


def test_a_record_that_is_not_json(tmp_path):
    path = made_run().save(tmp_path / "a.json")
    before = path.read_bytes()
    with pytest.raises(InputError, match="cannot write"):
        replace(made_run(), metrics={"exact": float("nan")}).save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("response", "truncated", "outcome", "alone"),
    [
        ("It is the Patient Marten.", False, "exact", "exact"),
        ("It is nine otters.", False, "exact", "fluent_wrong"),
        ("It is some otters.", False, "partial", "fluent_wrong"),
        ("It is Marten, nine ott", True, "truncated", "partial"),
        ("I don't know.", False, "refusal", "refusal"),
        ("It is long ago.", False, "fluent_wrong", "fluent_wrong"),
    ],
)
def test_the_outcome_is_that_of_the_best_accepted_answer(
    response, truncated, outcome, alone, monkeypatch
):
    monkeypatch.setattr(results, "model_info", lambda bridge: {})
    bridge = SimpleNamespace(tokenizer=SimpleNamespace(decode=lambda ids, **options: response))

    def run(**meta):
        one = replace(example("m"), answer="Patient Marten", meta=meta)
        row = Row(one, Fixed(HeadSet()), tokens=[7], masks=[torch.zeros(2, 3, dtype=torch.bool)])
        return results.finish_run(bridge, row, Zero(), {"stop_ids": [7 + truncated]})

    aliases = ["Lum", "nine otters"]
    found = run(task="multihop", answer_aliases=aliases)
    assert found.outcome == outcome
    assert (found.outcome == "exact") == (found.metrics["exact"] == 1.0)
    assert run(task="multihop").outcome == alone
    assert run(task="needle", answer_aliases=aliases).outcome == run(task="needle").outcome


def test_a_run_prints_as_one_line():
    heads = torch.zeros(2, 2, 3, dtype=torch.bool)
    heads[0, 1] = True
    run = results.AblatedRun(
        example_id="a",
        tokens=torch.tensor([5, 6]),
        clean_tokens=torch.tensor([5, 6]),
        text="x" * 60,
        truncated=False,
        mask=heads,
        active=heads,
        active_masked=heads,
        active_masked_clean_token=heads,
        scored=torch.tensor([True, True]),
        outcome="partial",
    )
    said = "AblatedRun(a, 2 steps, 1.5 heads masked a step, outcome='partial', text="
    assert repr(run) == f"{said}'{'x' * 39}…')"
