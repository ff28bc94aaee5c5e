"""Writes every error message of the package into the page that has the marker below.

1. The source is parsed; each `raise` of one of our errors gives its message, values in it as `…`.
2. Messages are sorted by error, then by where they come from.
"""

import ast
import html
from pathlib import Path

MARKER = "<!-- every message -->"
PACKAGE = Path(__file__).parents[2] / "retrieval_lens"
KINDS = ("Error", "WrongOption")  # what the names of errors end in


def on_page_markdown(markdown, **_):
    """Called by mkdocs for every page."""
    return markdown.replace(MARKER, table()) if MARKER in markdown else markdown


def table():
    """All messages, a section an error."""
    found = {}
    for error, place, text in messages():
        found.setdefault(error, {}).setdefault(place, []).append(text)
    parts = []
    for error, places in sorted(found.items()):
        parts.append(f"\n### {error}\n")
        for place, texts in sorted(places.items()):
            parts += [f"- {html.escape(text, quote=False)} (`{place}`)" for text in texts]
    return "\n".join(parts)


def messages():
    """(error, module, message) of every `raise` with a message of its own."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else None
            if not isinstance(call, ast.Call) or not call.args:
                continue
            error = ast.unparse(call.func).split(".")[-1]
            text = literal(call.args[0])
            if error.endswith(KINDS) and text.strip("… "):
                yield error, module, escape(text)


def literal(node):
    """The text of a message; what is put in at run time becomes `…`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(one) for one in node.values)
    if isinstance(node, ast.BinOp):
        return literal(node.left) + literal(node.right)
    return "…"


def escape(text):
    """One line that Markdown takes as it is."""
    line = " ".join(text.split())
    return "".join(f"\\{one}" if one in "\\`*_{}[]<>#|" else one for one in line)
