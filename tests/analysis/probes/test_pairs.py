"""Pairs of hidden states and targets, and their sides."""

import pytest
import torch

from retrieval_lens.analysis.probes.pairs import pairs_of, sides_of
from retrieval_lens.analysis.probes.settings import ProbeSettings
from retrieval_lens.errors import InputError
from tests.analysis.probes.synthetic import corpus, response

SCORES = torch.tensor([0.0, 0.9, 0.2, 1.0]).view(4, 1, 1).expand(4, 1, 2)


def pairs(found, **settings):
    return pairs_of(found, ProbeSettings(**settings))


def test_each_hidden_state_meets_the_heads_some_steps_later():
    one = response(SCORES, tokens=[7, 8, 9, 6])
    short = response(SCORES[:1], "short")
    found = pairs([short, one], offset=1)
    assert torch.equal(found.hidden, one.hidden[:3])
    assert found.targets[:, 0].tolist() == [1, 0, 1] and found.filled.tolist() == [
        True,
        False,
        True,
    ]
    assert found.previous[:, 0].tolist() == pytest.approx([0, 0.9, 0.2])
    assert found.step.tolist() == [1, 2, 3] and found.token.tolist() == [7, 8, 9]
    assert found.example_ids == ("a",) and found.owner.tolist() == [0, 0, 0]


def test_at_offset_0_only_the_step_before_is_known():
    found = pairs([response(SCORES)], kind="regressor")
    assert found.targets[:, 1].tolist() == pytest.approx([0, 0.9, 0.2, 1])
    assert found.previous[0].isnan().all()
    assert found.previous[1:, 0].tolist() == pytest.approx([0, 0.9, 0.2])


def test_an_offset_beyond_every_response():
    with pytest.raises(InputError, match="longest response has 4 steps.*offset below 4"):
        pairs([response(SCORES)], offset=4)


@pytest.mark.parametrize("n", [3, 4, 10, 40])
def test_by_example_no_example_is_on_two_sides(n):
    found = corpus(n)
    settings = ProbeSettings(seed=1)
    all_pairs = pairs_of(found, settings)
    sides = sides_of(all_pairs, found, settings)
    rows = (sides.train, sides.validation, sides.test)
    ids = [set(all_pairs.subset(one).example_ids) for one in rows]
    assert sum(map(len, ids)) == n == len(set.union(*ids)) and min(map(len, ids)) >= 1
    assert torch.cat(rows).sort().values.equal(torch.arange(len(all_pairs)))
    if n == 40:
        assert [len(one) for one in ids] == [28, 8, 4]


def test_needles_with_the_same_answer_stay_together():
    found = [
        response(SCORES, f"{answer} {haystack}", haystack=haystack, needle="n", answer=answer)
        for answer in "abcdef"
        for haystack in ("coast", "essays")
    ]
    settings = ProbeSettings()
    all_pairs = pairs_of(found, settings)
    sides = sides_of(all_pairs, found, settings)
    answers = [
        {name[0] for name in all_pairs.subset(rows).example_ids}
        for rows in (sides.train, sides.validation, sides.test)
    ]
    assert sum(map(len, answers)) == 6


def test_by_step_sides_share_examples():
    found = corpus(5)
    settings = ProbeSettings(split="step")
    all_pairs = pairs_of(found, settings)
    sides = sides_of(all_pairs, found, settings)
    sizes = [len(sides.train), len(sides.validation), len(sides.test)]
    assert sum(sizes) == len(all_pairs) == 64 and sizes[1:] == [13, 6]
    assert len(all_pairs.subset(sides.test).example_ids) > 1


def test_a_subset_keeps_what_belongs_together():
    found = corpus(4)
    all_pairs = pairs(found)
    part = all_pairs.subset(torch.tensor([40, 2, 41]))
    assert part.example_ids == ("e0", "e3") and part.strata == ("coast", "essays")
    assert part.owner.tolist() == [1, 0, 1]
    for name in ("hidden", "targets", "step", "token"):
        assert torch.equal(getattr(part, name)[1], getattr(all_pairs, name)[2])


def test_permuted_labels_move_as_rows():
    found = corpus(6)
    plain, permuted = pairs(found), pairs(found, permuted_labels=True)
    assert torch.equal(plain.hidden, permuted.hidden)
    assert not torch.equal(plain.targets, permuted.targets)
    assert sorted(plain.targets.tolist()) == sorted(permuted.targets.tolist())
    assert torch.equal(permuted.filled, permuted.targets.bool().any(1))
    again = pairs(found, permuted_labels=True, seed=1)
    assert not torch.equal(again.targets, permuted.targets)


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_to_split(n):
    found = corpus(n)
    settings = ProbeSettings()
    with pytest.raises(InputError, match=f"at least three examples.*there are {n}"):
        sides_of(pairs_of(found, settings), found, settings)
