import pytest

from retrieval_lens.viz.labels import axis_labels, clip, escape, lines, visible


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("word", "word"),
        (" word", "␣word"),
        ("  a  ", "␣␣a␣␣"),
        ("a b", "a b"),
        ("   ", "␣␣␣"),
        ("", "∅"),
        ("\n", "⏎"),
        (".\n\n", ".⏎⏎"),
        ("\t", "⇥"),
        ("\r", "⟨U+000D⟩"),
        ("\ufffd", "\ufffd"),
        ("\ud83d", "⟨U+D83D⟩"),
        ("\u202eabc", "⟨U+202E⟩abc"),
        ("\u200f", "⟨U+200F⟩"),
        ("\u2028", "⟨U+2028⟩"),
        ("\u200d", "⟨U+200D⟩"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("\u0301", "◌\u0301"),
        ("שלום", "שלום"),
        ("<b>", "<b>"),
    ],
)
def test_a_token_is_shown_as_a_reader_can_tell_it(token, shown):
    assert visible(token) == shown


def test_in_running_text_spaces_stay_unless_they_are_all():
    assert visible(" word", spaces=False) == " word"
    assert visible("  ", spaces=False) == "␣␣"


def test_escaping_leaves_no_markup_entity_or_formula():
    assert escape("<b>&amp;$x$") == "&lt;b&gt;&amp;amp;&#36;x&#36;"
    assert escape('it\'s "so"') == 'it\'s "so"'


def test_a_label_is_clipped_before_it_is_escaped():
    assert axis_labels(["<<<<<"], max_chars=4) == ["&lt;&lt;&lt;…"]
    assert clip("1234", 4) == "1234"


def test_titles_break_between_words_and_at_their_own_newlines():
    assert lines("one two three\n<four>", 8) == "one two<br>three<br>&lt;four&gt;"
    assert lines("", 8) == ""
