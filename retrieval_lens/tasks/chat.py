"""Chat prompts: one system and one user message through the tokenizer's own template.

1. The template gets `add_generation_prompt=True`, `enable_thinking=False` and a fixed day, as
   `date_string` and as its clock, so that the same example is the same prompt on every day.
2. A template that refuses a system role, or drops it, gets the system text in front of the user's.
3. The user's message must stand in the result once and unchanged; otherwise character positions
   would be wrong, and an error is raised.
"""

from datetime import date
from typing import Any

from jinja2 import TemplateError

from retrieval_lens.errors import ChatTemplateError, InputError

DAY = date(2024, 7, 26)
DATE_CODES = ("%d", "%m", "%y", "%Y", "%b", "%B", "%a", "%A", "%H", "%M", "%S", "%j")
TEMPLATE_ARGUMENTS: dict[str, Any] = {
    "enable_thinking": False,
    "date_string": DAY.strftime("%d %b %Y"),
}


def render(tokenizer: Any, user: str, system: str | None) -> tuple[str, int, dict[str, Any]]:
    """The prompt text, where `user` begins in it, and a record of how it was made.

    Args:
        tokenizer: A transformers tokenizer with a chat template.
        user: The user's message.
        system: The system message, or None.

    Raises:
        ChatTemplateError: No template, or one that does not keep the user's message as it is.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ChatTemplateError(
            f"{type(tokenizer).__name__} has no chat template; set tokenizer.chat_template, or use "
            f"a plain prompt (chat=False)"
        )
    role = "none" if system is None else "system"
    text = None
    if system is not None:
        text = _apply(tokenizer, [("system", system), ("user", user)], refuse_is_none=True)
        if text is None or system.strip() not in text.replace(user.strip(), ""):
            role, text = "in front of the user's text", None
            user = f"{system}\n\n{user}"
    if text is None:
        text = _apply(tokenizer, [("user", user)], refuse_is_none=False)
    assert text is not None
    start = _where(text, user)
    record = {"template": "chat", "system_role": role, "template_arguments": TEMPLATE_ARGUMENTS}
    shift = len(system or "") + 2 if role.startswith("in front") else 0
    return text, start + shift, record


def _apply(tokenizer: Any, messages: list[tuple[str, str]], refuse_is_none: bool) -> str | None:
    try:
        return tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in messages],
            tokenize=False,
            add_generation_prompt=True,
            chat_template=_with_fixed_clock(tokenizer.get_chat_template()),
            **TEMPLATE_ARGUMENTS,
        )
    except (TemplateError, ValueError) as error:
        if refuse_is_none:
            return None
        raise ChatTemplateError(f"the chat template fails on a user message: {error}") from error


def _with_fixed_clock(template: str) -> str:
    """The template with a macro in place of `strftime_now`, which would give today's date.

    transformers passes plain data to a template and no function, hence a macro.
    """
    if "strftime_now" not in template:
        return template
    codes = "".join(f" | replace('{code}', '{DAY.strftime(code)}')" for code in DATE_CODES)
    return (
        f"{{%- macro strftime_now(format) -%}}{{{{ format{codes} }}}}{{%- endmacro -%}}{template}"
    )


def _where(text: str, user: str) -> int:
    """Where `user` begins, counted as if leading white space that a template strips were there."""
    core = user.strip()
    start = text.find(core)
    if start < 0 or text.find(core, start + 1) >= 0:
        raise ChatTemplateError(
            "the chat template does not keep the user's message as it is, exactly once; evidence "
            "cannot be located in its output. Use a plain prompt (chat=False)."
        )
    return start - (len(user) - len(user.lstrip()))


def bos_of(tokenizer: Any, plain: bool, prepend: bool | None) -> int | None:
    """The id to put in front: as asked, else as the tokenizer does itself for plain text.

    Raises:
        InputError: Asked for, but the tokenizer has no beginning-of-sequence token.
    """
    bos = getattr(tokenizer, "bos_token_id", None)
    if prepend is None:
        first = tokenizer("a")["input_ids"][:1]
        prepend = plain and bos is not None and first == [bos]
    if not prepend:
        return None
    if bos is None:
        raise InputError(
            f"prepend_bos=True, but {type(tokenizer).__name__} has no beginning-of-sequence token"
        )
    return int(bos)
