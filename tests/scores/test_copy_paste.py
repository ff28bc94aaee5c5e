import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.errors import InputError
from retrieval_lens.scores import AttentionRows, DecodedSteps, copy_targets

# prompt: 9 1 2 1 3 9, evidence at 1..4 ("1 2 1 3"); generated: 1 2 1 3
IDS = torch.tensor([9, 1, 2, 1, 3, 9, 1, 2, 1, 3])
STEPS = DecodedSteps(
    token_ids=IDS,
    prompt_length=6,
    query_positions=torch.tensor([5, 6, 7, 8]),
    predicted=torch.tensor([1, 2, 1, 3]),
    evidence=torch.tensor([1, 2, 3, 4]),
)


def rows(pattern, first_key=0):
    pattern = torch.tensor(pattern)
    n_rows, _, n_keys = pattern.shape
    keys = torch.arange(first_key, first_key + n_keys).expand(n_rows, -1)
    return AttentionRows(pattern, keys, keys[:, -1], torch.zeros_like(keys, dtype=torch.bool))


def test_targets_by_token_and_by_position():
    by_token = [row.nonzero()[:, 0].tolist() for row in copy_targets(STEPS, "token")]
    assert by_token == [[1, 3], [2], [1, 3], [4]]
    # after "1 2" the second 1 is the one that continues; before any text both are
    by_position = [row.nonzero()[:, 0].tolist() for row in copy_targets(STEPS, "position")]
    assert by_position == [[1, 3], [2], [3], [4]]


def test_hand_worked_score():
    argmax = torch.tensor([[[1, 0]], [[2, 3]], [[1, 3]], [[4, 9]]]).float().unsqueeze(-1)
    by_token = rl.CopyPaste().finish(argmax, STEPS)
    assert by_token.tolist() == [[[1, 0]], [[1, 0]], [[1, 1]], [[1, 0]]]
    by_position = rl.CopyPaste(match="position").finish(argmax, STEPS)
    assert by_position.tolist() == [[[1, 0]], [[1, 0]], [[0, 1]], [[1, 0]]]


def test_the_right_token_outside_the_evidence_does_not_count():
    argmax = torch.tensor([[[6]]] * 4).float().unsqueeze(-1)  # the generated 1, not the needle's
    assert rl.CopyPaste().finish(argmax, STEPS).sum() == 0


def test_observe_takes_the_lowest_of_equal_maxima_as_absolute_position():
    pattern = [[[0.1, 0.4, 0.4, 0.1], [0.7, 0.1, 0.1, 0.1]]]
    assert rl.CopyPaste().observe(rows(pattern))[..., 0].tolist() == [[1.0, 0.0]]
    assert rl.CopyPaste().observe(rows(pattern, first_key=10))[..., 0].tolist() == [[11.0, 10.0]]


def test_unknown_prediction_is_not_a_number():
    steps = DecodedSteps(IDS, 6, torch.tensor([5]), torch.tensor([-1]), STEPS.evidence)
    assert rl.CopyPaste().finish(torch.ones(1, 1, 1, 1), steps).isnan().all()


def test_threshold_name_and_errors():
    score = rl.CopyPaste()
    assert (score.name, rl.CopyPaste(match="position").name) == (
        "copy_paste",
        "copy_paste_position",
    )
    assert score.threshold(score.chance(STEPS)).tolist() == [0.5] * 4
    assert score.chance(STEPS).isnan().all()
    with pytest.raises(InputError, match="'token' or 'position', not 'text'"):
        rl.CopyPaste(match="text")
