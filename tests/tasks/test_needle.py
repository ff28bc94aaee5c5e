import copy
import re

import pytest

import retrieval_lens as rl
from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.tasks import HAYSTACKS, NEEDLE_FORMATS, NeedleFormat, register_needle_format
from retrieval_lens.tasks.haystacks import SHIPPED, read_haystack
from tests.tokenizers_at_hand import CHAT_TEMPLATE, FAMILIES, tokenizer

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def chat_tokenizer(family="byte_level_bpe"):
    tok = copy.copy(tokenizer(family))
    tok.chat_template = CHAT_TEMPLATE
    return tok


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("needle", ["magic_word", "ticket_number", "boat_name"])
def test_evidence_is_the_needle_sentence(family, needle):
    tok = tokenizer(family)
    example = rl.needle_example(tok, n_tokens=150, depth=0.5, seed=3, needle=needle)
    form = NEEDLE_FORMATS[needle]
    assert example.evidence_text == form.sentence.format(answer=example.answer)
    spelled = tok.decode(example.token_ids[example.evidence]).lower()
    strip = re.compile(r"\s+|[^\w.\"-]")
    assert strip.sub("", example.evidence_text.lower()) in strip.sub("", spelled)


def test_layout_of_the_prompt():
    example = rl.needle_example(chat_tokenizer(), n_tokens=60, depth=1.0, seed=0)
    body = example.prompt
    assert body.startswith(
        "<|system|>\nYou are a helpful AI bot that answers questions for a user."
    )
    assert "<|user|>\nContext:\nMy grandmother kept bees" in body
    assert body.endswith(
        "\n\nQuestion:\nWhat is the magic word?\nInstruction:\nDon't give information outside the "
        "document or repeat your findings.\n<|assistant|>\n"
    )
    assert UUID.fullmatch(example.answer)


def test_haystack_has_the_length_asked_for_and_is_tiled():
    tok = tokenizer("byte_level_bpe")
    for n_tokens in (20, 1000, 9000):
        example = rl.needle_example(tok, n_tokens, 0.3, haystack="coast")
        sentence = example.evidence_text
        bare = example.context.replace(f" {sentence}", "").replace(f"{sentence} ", "")
        assert len(tok(bare)["input_ids"]) == n_tokens
    start = read_haystack("coast")[1][:80]
    assert example.context.count(start) > 1


def test_the_needle_follows_the_nearest_sentence_end_at_or_before_the_depth():
    tok = tokenizer("byte_level_bpe")
    starts = []
    for depth in (0.0, 0.25, 0.5, 0.75, 1.0):
        example = rl.needle_example(tok, 400, depth, haystack="letters")
        before, after = example.context.split(example.evidence_text)
        prose = read_haystack("letters")[1]
        assert before == "" or before.rstrip()[-1] in ".!?"
        at = len(tok(before.rstrip())["input_ids"])
        assert at <= depth * 400
        following = re.match(r"[^.!?]*[.!?]", prose[len(before.rstrip()) :])
        assert following is not None
        if before:  # one more sentence would have passed the depth
            assert at + len(tok(following[0])["input_ids"]) >= depth * 400
        starts.append(at)
    assert starts == sorted(set(starts))


def test_same_arguments_same_bytes_and_seeds_differ():
    tok = tokenizer("byte_level_bpe")
    one, two = (rl.needle_example(tok, 100, 0.5, seed=7) for _ in range(2))
    assert one.prompt == two.prompt and one.id == two.id
    assert one.token_ids.tolist() == two.token_ids.tolist()
    import numpy as np

    three = rl.needle_example(tok, np.int64(100), 0.5, seed=np.int64(7))
    assert three.meta == one.meta and type(three.meta["n_tokens"]) is int
    answers = {rl.needle_example(tok, 100, 0.5, seed=seed).answer for seed in range(50)}
    assert len(answers) == 50
    deeper = rl.needle_example(tok, 300, 1.0, seed=7, haystack="coast")
    assert deeper.answer == one.answer


def test_base_models_get_a_plain_prompt():
    example = rl.needle_example(tokenizer("byte_level_bpe"), 50)
    assert example.meta["template"] == "plain"
    assert example.prompt.endswith("\nAnswer:") and example.id.endswith("-plain")


def test_shipped_prose_is_long_and_varied():
    texts = {name: read_haystack(name)[1] for name in SHIPPED}
    assert sum(len(text.split()) for text in texts.values()) >= 6000
    paragraphs = [p for text in texts.values() for p in text.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)
    words = re.findall(r"[a-z]+", read_haystack("mixed")[1].lower())
    assert len(set(words)) > 1500
    assert not {"magic", "password", "uuid"} & set(words)
    assert HAYSTACKS[0] == "mixed"


def test_own_haystacks(tmp_path):
    (tmp_path / "b.txt").write_text("Second file. It ends.")
    (tmp_path / "a.txt").write_text("First file. It goes on.")
    name, text = read_haystack(tmp_path)
    assert text == "First file. It goes on.\n\nSecond file. It ends."
    assert name.startswith(f"{tmp_path.name}@")
    example = rl.needle_example(tokenizer("byte_level_bpe"), 30, 0.9, haystack=tmp_path / "a.txt")
    assert example.meta["haystack"].startswith("a.txt@") and "a.txt@" in example.id
    (tmp_path / "a.txt").write_text("Another first file. It goes on.")
    assert read_haystack(tmp_path)[0] != name
    (tmp_path / "q.txt").write_text("He said \u201cNo.\u201d Then he went on and on and on")
    quoted = rl.needle_example(tokenizer("byte_level_bpe"), 25, 1.0, haystack=tmp_path / "q.txt")
    assert quoted.context.startswith("He said \u201cNo.\u201d The magic word is")


def test_bad_haystacks(tmp_path):
    with pytest.raises(UnknownNameError, match="no haystack 'nowhere'.*mixed, letters"):
        read_haystack("nowhere")
    with pytest.raises(InputError, match="is empty"):
        read_haystack(tmp_path)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="not UTF-8"):
        read_haystack(tmp_path)


@pytest.mark.parametrize("arguments", [{"n_tokens": 0}, {"depth": 1.1}, {"depth": -0.1}])
def test_arguments_out_of_range(arguments):
    with pytest.raises(InputError, match="n_tokens >= 1 and 0 <= depth <= 1"):
        rl.needle_example(tokenizer("byte_level_bpe"), **arguments)


def test_needle_formats_can_be_added_but_not_replaced():
    with pytest.raises(UnknownNameError, match="boat_name, magic_word, ticket_number"):
        rl.needle_example(tokenizer("byte_level_bpe"), 50, needle="thread")
    with pytest.raises(InputError, match="exactly once"):
        NeedleFormat("x", "no place", "?", lambda random: "a")
    with pytest.raises(InputError, match="already registered"):
        register_needle_format(NEEDLE_FORMATS["magic_word"])
