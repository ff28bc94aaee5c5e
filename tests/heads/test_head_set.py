import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.files import save_json
from retrieval_lens.heads import Head, HeadSet

PAIRS = st.tuples(st.integers(0, 5), st.integers(0, 3))
SETS = st.lists(PAIRS, unique=True, max_size=12)


def scored(heads, ids=(), **provenance):
    """Scores that tell the heads apart: 0.9, 0.8, …"""
    scores = [0.9 - 0.1 * i for i in range(len(heads))]
    return HeadSet(heads, scores, example_ids=ids, provenance=provenance)


@pytest.mark.parametrize("text", ["L18H6", "L18-H6", "18-6", "18.6", " L18H6 "])
def test_spellings_of_a_head(text):
    assert Head.parse(text) == Head(18, 6)
    assert str(Head(18, 6)) == "L18H6"


@pytest.mark.parametrize("text", ["", "18", "L18", "18-6-2", "H6L18", "-1-6", "L1.5H2", "18 6"])
def test_other_spellings_are_refused(text):
    with pytest.raises(InputError, match="spelled L18H6 or 18-6"):
        Head.parse(text)


def test_order_is_kept():
    heads = HeadSet([(2, 1), "L0H3", Head(1, 0)])
    assert list(heads) == [(2, 1), (0, 3), (1, 0)]
    assert all(isinstance(head, Head) for head in heads)
    assert str(heads) == "L2H1 L0H3 L1H0"
    assert repr(heads) == "HeadSet(3 heads: L2H1 L0H3 L1H0)"
    assert repr(HeadSet([(0, i) for i in range(9)])).endswith("L0H7 …)")


def test_equal_whatever_the_order_and_the_record():
    assert scored([(0, 1), (2, 3)], ["a"]) == HeadSet([(2, 3), (0, 1)])
    assert hash(HeadSet([(0, 1), (2, 3)])) == hash(HeadSet([(2, 3), (0, 1)]))
    assert HeadSet([(0, 1)]) <= HeadSet([(2, 3), (0, 1)])
    assert HeadSet([(0, 1)]).isdisjoint(HeadSet([(1, 0)]))
    assert HeadSet([(0, 1)]) != HeadSet([(1, 0)])


@pytest.mark.parametrize("head", [Head(1, 2), (1, 2), "L1H2", "1-2"])
def test_a_head_is_found_by_every_spelling(head):
    assert head in HeadSet([(0, 0), (1, 2)])
    assert head not in HeadSet([(2, 1)])


def test_algebra_keeps_the_order_of_the_left_set():
    a, b = HeadSet(["L3H0", "L1H1", "L2H2"]), HeadSet(["L2H2", "L0H0", "L3H0"])
    assert list(a & b) == [(3, 0), (2, 2)]
    assert list(a | b) == [(3, 0), (1, 1), (2, 2), (0, 0)]
    assert list(a - b) == [(1, 1)]
    assert list(a ^ b) == [(1, 1), (0, 0)]
    assert list(b & a) == [(2, 2), (3, 0)]


def test_scores_stay_with_their_heads_and_go_where_one_has_none():
    a, b = scored(["L3H0", "L1H1", "L2H2"]), scored(["L2H2", "L0H0"])
    assert (a & b).scores == pytest.approx([0.7])  # a's score of L2H2, not b's 0.9
    assert (a - b).scores == pytest.approx([0.9, 0.8])
    assert (a | b).scores is None  # L0H0 has no score in a
    assert (a | HeadSet(["L1H1"])).scores == pytest.approx([0.9, 0.8, 0.7])
    assert (a ^ b).scores is None
    assert (HeadSet(["L3H0"]) & a).scores is None
    assert a.top(2).scores == pytest.approx([0.9, 0.8])


def test_the_examples_of_both_sets_and_the_left_record_survive():
    a = scored([(0, 0), (1, 1)], ["x", "y"], detector="ours")
    b = scored([(1, 1), (2, 2)], ["z", "y"], detector="theirs")
    for made in (a & b, a | b, a - b, a ^ b):
        assert made.example_ids == ("x", "y", "z")
        assert made.provenance == {"detector": "ours"}
    assert a.top(1).example_ids == ("x", "y")
    assert a.top(1).provenance == {"detector": "ours"}
    assert (a - b.top(0)).example_ids == ("x", "y", "z")


@given(SETS, SETS)
def test_algebra_is_that_of_sets(first, second):
    a, b, plain_a, plain_b = HeadSet(first), HeadSet(second), set(first), set(second)
    assert set(a & b) == plain_a & plain_b
    assert set(a | b) == plain_a | plain_b
    assert set(a - b) == plain_a - plain_b
    assert set(a ^ b) == plain_a ^ plain_b
    assert list(a & b) == [head for head in first if head in plain_b]
    either = plain_a | plain_b
    assert a.jaccard(b) == (len(plain_a & plain_b) / len(either) if either else 1.0)
    assert HeadSet.from_mask(a.mask(6, 4)) == a


def test_the_right_side_may_be_spelled_as_the_constructor_takes_it():
    heads = HeadSet([(1, 0), (2, 0), (3, 0)])
    assert list(heads - ["L1H0", [2, 0]]) == [(3, 0)]
    assert list(heads & ["1-0"]) == [(1, 0)]
    assert list(heads | ["L1H0", "L4H0"]) == [(1, 0), (2, 0), (3, 0), (4, 0)]
    assert list(heads ^ {Head(1, 0)}) == [(2, 0), (3, 0)]
    with pytest.raises(InputError, match="a head is spelled"):
        heads - ["all"]


@pytest.mark.parametrize("operate", [set.__and__, set.__or__, set.__sub__, set.__xor__])
def test_a_plain_set_on_the_left_would_lose_the_examples(operate):
    left, right = {Head(1, 0)}, HeadSet([(1, 0)], example_ids=["a"])
    assert operate(left, right) is NotImplemented
    name = operate.__name__.replace("__", "__r", 1)
    with pytest.raises(InputError, match="put the HeadSet first"):
        getattr(right, name)(left)


def test_jaccard_by_hand():
    a, b = HeadSet([(0, 0), (0, 1), (0, 2)]), HeadSet([(0, 1), (0, 2), (0, 3)])
    assert a.jaccard(b) == 2 / 4
    assert a.jaccard(a) == 1
    assert a.jaccard(HeadSet()) == 0
    assert HeadSet().jaccard(HeadSet()) == 1


def test_top():
    heads = HeadSet([(0, 0), (0, 1), (0, 2)])
    assert list(heads.top(2)) == [(0, 0), (0, 1)]
    assert heads.top(9) == heads
    assert heads.top(0) == HeadSet()
    with pytest.raises(InputError, match="must not be negative; got -1"):
        heads.top(-1)


def test_mask_by_hand():
    mask = HeadSet([(1, 2), (0, 0)]).mask(2, 3)
    assert mask.tolist() == [[True, False, False], [False, False, True]]
    assert list(HeadSet.from_mask(mask)) == [(0, 0), (1, 2)]


@pytest.mark.parametrize("head", [(2, 0), (0, 3), (5, 9)])
def test_out_of_range(head):
    message = (
        rf"head L{head[0]}H{head[1]} is out of range: the model has layers 0..1 and heads 0..2"
    )
    with pytest.raises(InputError, match=message):
        HeadSet([(1, 2), head]).mask(2, 3)
    HeadSet([(1, 2)]).require_within(2, 3)


def test_a_head_twice():
    with pytest.raises(InputError, match="head L1H2 stands twice"):
        HeadSet([(0, 0), (1, 2), "L1H2"])


@pytest.mark.parametrize(
    "head",
    [
        np.array([1, 2]),
        (np.int64(1), np.int32(2)),
        torch.tensor([1, 2]),
        (torch.tensor(1), torch.tensor(2)),
        [1, 2],
    ],
)
def test_whole_numbers_of_other_libraries(head):
    heads = HeadSet([head])
    assert heads.heads == (Head(1, 2),)
    assert [type(number) for number in heads.heads[0]] == [int, int]
    json.dumps(heads.as_json())


@pytest.mark.parametrize(
    "head",
    [
        (True, 0),
        (0, False),
        (np.bool_(True), 0),
        torch.tensor([True, False]),
        (1.0, 2),
        (1, 2.5),
        (1, float("nan")),
        (1, float("inf")),
        np.array([1.0, 2.0]),
        ("1", "2"),
        (-1, 0),
        (0, -1),
        (1,),
        (1, 2, 3),
        7,
        None,
        ((1, 2), 3),
    ],
)
def test_what_is_no_head(head):
    with pytest.raises(InputError):
        HeadSet([head])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1.0], "1 scores for 2 heads"),
        ([1.0, 2.0, 3.0], "3 scores for 2 heads"),
        ([1.0, float("nan")], "NaN or infinite"),
        ([float("inf"), 1.0], "NaN or infinite"),
        (["high", 1.0], "scores are numbers"),
        ([None, 1.0], "scores are numbers"),
    ],
)
def test_scores_that_do_not_fit(scores, message):
    with pytest.raises(InputError, match=message):
        HeadSet([(0, 0), (0, 1)], scores)


def test_judged_on_its_own_examples():
    heads = HeadSet([(0, 0)], example_ids=["b", "a", "b"])
    assert heads.example_ids == ("a", "b")
    heads.require_unseen(["c", "d"])
    heads.require_unseen([])
    HeadSet([(0, 0)]).require_unseen(["a"])
    with pytest.raises(InputError, match=r"chosen on example 'b' \(1 in all\).*allow_overlap"):
        heads.require_unseen(["c", "b"])
    with pytest.raises(InputError, match=r"'a' \(2 in all\)"):
        (heads - HeadSet([(0, 0)])).require_unseen(iter(["a", "b"]))


def test_one_text_is_not_a_list_of_examples():
    with pytest.raises(InputError, match="not the text 'needle-1'"):
        HeadSet(example_ids="needle-1")
    with pytest.raises(InputError, match="not the text 'needle-1'"):
        HeadSet(example_ids=["needle-1"]).require_unseen("needle-1")


def full_set():
    record = {"detector": "by hand", "nested": {"k": [1, 2.5, None]}, "text": "é’"}
    return HeadSet([(3, 1), (0, 2)], [0.1 + 0.2, 1e-17], example_ids=["b", "a"], provenance=record)


def same(a, b):
    return all(
        getattr(a, name) == getattr(b, name)
        for name in ("heads", "scores", "example_ids", "provenance")
    )


@pytest.mark.parametrize("heads", [full_set(), HeadSet(), HeadSet(["L1H1"])])
def test_everything_comes_back(heads, tmp_path):
    path = heads.save(tmp_path / "a.json")
    assert same(HeadSet.load(path), heads)
    assert same(HeadSet.load(str(path)), heads)
    assert HeadSet.load(path).save(tmp_path / "b.json").read_bytes() == path.read_bytes()
    assert same(pickle.loads(pickle.dumps(heads)), heads)  # noqa: S301, for other processes


def test_a_record_that_is_not_json(tmp_path):
    with pytest.raises(InputError, match="cannot write .* as JSON"):
        HeadSet(provenance={"x": object()}).save(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_a_file_cut_short_or_altered_anywhere(tmp_path):
    heads = HeadSet(["L1H2"], [0.5], example_ids=["é"], provenance={"k": 1})
    path = heads.save(tmp_path / "a.json")
    whole = path.read_bytes()
    end = len(whole.rstrip())
    for keep in range(end):
        path.write_bytes(whole[:keep])
        with pytest.raises(FileFormatError):
            HeadSet.load(path)
    for place in range(end):
        altered = bytearray(whole)
        altered[place] ^= 1
        path.write_bytes(altered)
        with pytest.raises(FileFormatError):
            HeadSet.load(path)


def test_files_of_another_kind(tmp_path):
    path = save_json(tmp_path / "a.json", "trace_list", full_set().as_json())
    with pytest.raises(FileFormatError, match="trace_list.*wanted retrieval_lens.head_set 1"):
        HeadSet.load(path)
    save_json(path, "head_set", full_set().as_json(), version=2)
    with pytest.raises(FileFormatError, match="head_set' 2, wanted retrieval_lens.head_set 1"):
        HeadSet.load(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        HeadSet.load(tmp_path / "nowhere.json")


def test_a_pickle_is_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("executed",))

    path = tmp_path / "a.json"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileFormatError, match="damaged, or not a head_set of this package"):
        HeadSet.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"heads": 5},
        {"heads": None},
        {"heads": "L1H1"},
        {"heads": {"a": 1}},
        {"heads": [[[0, 1], 2]]},
        {"heads": [[0, 1.5], [0, 2]]},
        {"heads": [[0, True], [0, 2]]},
        {"heads": [[0, 1], [0, 1]]},
        {"heads": [[0, -1], [0, 1]]},
        {"scores": [1]},
        {"scores": ["high", 1]},
        {"scores": [[1], [2]]},
        {"scores": 7},
        {"example_ids": "needle"},
        {"example_ids": 3},
        {"example_ids": [["a"]]},
        {"example_ids": [1, "a"]},
        {"provenance": 3},
        {"provenance": [1, 2]},
        {"provenance": "text"},
    ],
)
def test_a_sealed_file_with_nonsense_in_it(change, tmp_path):
    path = save_json(tmp_path / "a.json", "head_set", full_set().as_json() | change)
    with pytest.raises(FileFormatError, match="no head set"):
        HeadSet.load(path)


@pytest.mark.parametrize("content", [None, 3, "L1H1", [], [1], {}, {"heads": []}])
def test_a_sealed_file_of_something_else(content, tmp_path):
    path = save_json(tmp_path / "a.json", "head_set", content)
    with pytest.raises(FileFormatError, match="no head set"):
        HeadSet.load(path)


def test_another_layout_of_an_example_counts_as_seen():
    chosen = HeadSet([(1, 1)], example_ids=["own-orle-01@4paragraphs-seed0", "needle-2"])
    both = chosen & HeadSet([(1, 1)])
    for one in (chosen, both, HeadSet.from_json(chosen.as_json())):
        one.require_unseen(["own-orle-02@4paragraphs-seed0", "own-orle-011", "needle-22"])
        with pytest.raises(InputError, match="or on another layout of it"):
            one.require_unseen(["own-orle-01@facts_last-10paragraphs-seed3"])
        with pytest.raises(InputError, match="or on another layout of it"):
            one.require_unseen(["own-orle-01"])
