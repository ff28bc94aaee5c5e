import copy

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.errors import ChatTemplateError, EvidenceError, InputError
from retrieval_lens.tasks.chat import TEMPLATE_ARGUMENTS
from tests.tokenizers_at_hand import (
    CHAT_TEMPLATE,
    DROPS_SYSTEM_TEMPLATE,
    FAMILIES,
    NO_SYSTEM_TEMPLATE,
    tokenizer,
)

PROMPT = "Ann has three cats. Bob has none. Ann has"


def with_template(template, family="byte_level_bpe"):
    tok = copy.copy(tokenizer(family))
    tok.chat_template = template
    return tok


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_text(family):
    tok = tokenizer(family)
    example = rl.RetrievalExample.from_text(tok, PROMPT, ["Bob has none."], answer="three")
    assert example.prompt == PROMPT
    assert example.evidence_text == "Bob has none."
    spelled = tok.decode(example.token_ids[example.evidence]).lower().replace(" ", "")
    assert spelled.removeprefix(".") == "bobhasnone."  # a piece may hold the full stop before


@pytest.mark.parametrize("family", FAMILIES)
def test_chat_template_shifts_the_evidence(family):
    tok = with_template(CHAT_TEMPLATE, family)
    example = rl.RetrievalExample.from_text(
        tok, f"  {PROMPT}\n", ["Bob has none."], chat=True, system="Be brief."
    )
    assert example.prompt.startswith("<|system|>\nBe brief.\n<|user|>\nAnn has")
    assert example.evidence_text == "Bob has none."
    assert example.meta["system_role"] == "system"
    assert example.meta["template_arguments"] == TEMPLATE_ARGUMENTS


def test_white_space_that_a_template_strips_is_no_evidence():
    template = "<|user|>\n{{ messages[0].content | trim }}<|end|>"
    for prompt in ("  Ann has three cats.", "Ann has three cats. \n", " Ann has three cats.\n"):
        for evidence in (prompt, (0, len(prompt))):
            made = rl.RetrievalExample.from_text(
                with_template(template), prompt, [evidence], chat=True
            )
            assert made.evidence_text == "Ann has three cats."
            spelled = with_template(template).decode(made.token_ids[made.evidence])
            assert "<" not in spelled and ">" not in spelled


def test_a_template_that_asks_for_today_gets_the_same_day():
    template = "{{ strftime_now('%d %B %Y') }} {{ date_string }}\n{{ messages[0].content }}"
    made = rl.RetrievalExample.from_text(
        with_template(template), PROMPT, ["Bob has none."], chat=True
    )
    assert made.prompt.startswith("26 July 2024 26 Jul 2024\n")


def test_a_dropped_system_message_is_noticed_even_if_the_user_says_the_same():
    made = rl.RetrievalExample.from_text(
        with_template(DROPS_SYSTEM_TEMPLATE),
        f"Be brief. {PROMPT}",
        ["Bob has none."],
        chat=True,
        system="Be brief.",
    )
    assert made.prompt.count("Be brief.") == 2


@pytest.mark.parametrize("template", [NO_SYSTEM_TEMPLATE, DROPS_SYSTEM_TEMPLATE])
def test_a_missing_system_role_goes_in_front_of_the_user_text(template):
    example = rl.RetrievalExample.from_text(
        with_template(template), PROMPT, ["Bob has none."], chat=True, system="Be brief."
    )
    assert f"<|user|>\nBe brief.\n\n{PROMPT}\n" in example.prompt
    assert example.evidence_text == "Bob has none."
    assert example.meta["system_role"] == "in front of the user's text"


def test_templates_that_cannot_be_used():
    tok = tokenizer("byte_level_bpe")
    with pytest.raises(ChatTemplateError, match="has no chat template"):
        rl.RetrievalExample.from_text(tok, PROMPT, ["Bob has none."], chat=True)
    shouting = with_template("{{ messages[0].content | upper }}")
    with pytest.raises(ChatTemplateError, match="does not keep the user's message"):
        rl.RetrievalExample.from_text(shouting, PROMPT, ["Bob has none."], chat=True)
    twice = with_template("{{ messages[0].content }}{{ messages[0].content }}")
    with pytest.raises(ChatTemplateError, match="exactly once"):
        rl.RetrievalExample.from_text(twice, PROMPT, ["Bob has none."], chat=True)
    failing = with_template("{{ raise_exception('never') }}")
    with pytest.raises(ChatTemplateError, match="never"):
        rl.RetrievalExample.from_text(failing, PROMPT, ["Bob has none."], chat=True)


def test_beginning_of_sequence():
    tok = copy.deepcopy(tokenizer("byte_level_bpe"))
    with pytest.raises(InputError, match="no beginning-of-sequence"):
        rl.RetrievalExample.from_text(tok, PROMPT, ["Bob has none."], prepend_bos=True)
    tok.bos_token = "z"
    bare = rl.RetrievalExample.from_text(tok, PROMPT, ["Bob has none."])
    with_bos = rl.RetrievalExample.from_text(tok, PROMPT, ["Bob has none."], prepend_bos=True)
    assert with_bos.token_ids.tolist() == [tok.bos_token_id, *bare.token_ids.tolist()]
    assert (with_bos.evidence == bare.evidence + 1).all()
    assert (bare.meta["prepended_bos"], with_bos.meta["prepended_bos"]) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"evidence": []}, "no evidence was given"),
        ({"evidence": ["Eve has two."]}, "is not in the prompt"),
        ({"evidence": ["has"]}, "more than once"),
        ({"evidence": ["Bob has none."], "max_tokens": 8}, "cuts the evidence off"),
        ({"evidence": ["Bob has none."], "system": "Be brief."}, "needs chat=True"),
    ],
)
def test_bad_evidence(arguments, message):
    with pytest.raises(InputError, match=message):
        rl.RetrievalExample.from_text(tokenizer("byte_level_bpe"), PROMPT, **arguments)


def test_an_example_made_by_hand_is_checked():
    ids = torch.arange(5)
    with pytest.raises(EvidenceError, match="has no evidence"):
        rl.RetrievalExample("a", "", ids, torch.tensor([], dtype=torch.long), ())
    with pytest.raises(EvidenceError, match="evidence was cut off"):
        rl.RetrievalExample("a", "", ids, torch.tensor([5]), ())
    with pytest.raises(EvidenceError, match="ascend"):
        rl.RetrievalExample("a", "", ids, torch.tensor([2, 2]), ())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_text_is_one_piece_of_evidence(family):
    one, several = (
        rl.RetrievalExample.from_text(tokenizer(family), PROMPT, evidence=given)
        for given in ("none", ["none"])
    )
    assert one.evidence.equal(several.evidence) and one.evidence_text == "none"


def test_an_example_prints_as_one_line():
    tok = tokenizer("byte_level_bpe")
    one = rl.RetrievalExample.from_text(tok, PROMPT, "three cats", answer="3")
    shown, evidence = repr(one), one.evidence.tolist()
    assert "\n" not in shown and len(shown) < 200
    where = f"evidence of {len(evidence)} at {evidence[0]} to {evidence[-1]}, answer='3')"
    assert shown.endswith(f"{len(one.token_ids)} tokens, {where}")
