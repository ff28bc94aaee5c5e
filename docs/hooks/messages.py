"""Writes every error message of the package into the page that has the marker below.

1. The source is parsed; each call that makes an error gives its message, values in it as `…`.
2. Messages are sorted by error, then by where they come from; the cures of the page of errors stand
   above them.
"""

import ast
import html
from pathlib import Path

MARKER = "<!-- every message -->"
PACKAGE = Path(__file__).parents[2] / "retrieval_lens"
ERRORS = Path(__file__).parents[1] / "how-to" / "errors.md"
KINDS = ("Error", "WrongOption")  # what the names of errors end in
WORDED = {  # functions that make or word an error
    "damaged": "FileFormatError",
    "kind": "CheckpointError",
    "none_left": "InvalidExampleError",
    "Unusable": "InvalidExampleError",
}


def on_page_markdown(markdown, **_):
    """Called by mkdocs for every page."""
    return markdown.replace(MARKER, table()) if MARKER in markdown else markdown


def table():
    """All messages, a section an error; first what to do."""
    found = {}
    for error, place, text in messages():
        found.setdefault(error, {}).setdefault(place, []).append(text)
    parts = []
    for error, places in sorted(found.items()):
        parts.append(f"\n## {error}\n")
        if cures(error):
            parts += ["| it says | do |", "|---|---|", *cures(error), ""]
        for place, texts in sorted(places.items()):
            parts += [f"- {text} (`{place}`)" for text in dict.fromkeys(texts)]
    return "\n".join(parts)


def cures(error):
    """Rows of the page of errors for one kind: what it says, what to do."""
    rows, current = [], None
    for line in ERRORS.read_text("utf-8").splitlines():
        cells = [one.strip() for one in line.strip("|").split(" | ")]
        if line.startswith("|") and len(cells) == 3:
            current = cells[0].strip("` |") or current
            rows += [f"| {cells[1]} | {cells[2].strip(' |')} |"] if current == error else []
    return rows


def messages():
    """(error, module, message) of every error with a message of its own."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        tree = ast.parse(path.read_text("utf-8"))
        known = constants(tree)
        for node in ast.walk(tree):
            for error, message in made(node):
                text = literal(message, known)
                if sum(one.isalpha() for one in text) > 9:  # else it is made of values
                    yield error, module, escape(text)


def made(node):
    """(error, message) of a call that makes an error, or of a function that words one."""
    if isinstance(node, ast.Call) and node.args:
        name = ast.unparse(node.func).split(".")[-1]
        if name in WORDED:
            yield WORDED[name], node.args[-1]
        elif name.endswith(KINDS):
            yield name, node.args[0]
    if isinstance(node, ast.FunctionDef) and node.name in WORDED:
        yield from ((WORDED[node.name], one.value) for one in ast.walk(node) if returned(one))


def returned(node):
    """Whether this is a `return` of a text."""
    return isinstance(node, ast.Return) and isinstance(
        node.value, ast.Constant | ast.JoinedStr | ast.BinOp
    )


def constants(tree):
    """Texts that a module gives a name."""
    pairs = [one for one in tree.body if isinstance(one, ast.Assign)]
    return {
        ast.unparse(one.targets[0]): one.value.value
        for one in pairs
        if isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
    }


def literal(node, known):
    """The text of a message; what is put in at run time becomes `…`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        return known.get(node.id, "…")
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(one, known) for one in node.values)
    if isinstance(node, ast.FormattedValue):
        return literal(node.value, known) if isinstance(node.value, ast.Name) else "…"
    if isinstance(node, ast.BinOp):
        return literal(node.left, known) + literal(node.right, known)
    return "…"


def escape(text):
    """One line that Markdown takes as it is."""
    line = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{one}" if one in "\\`*_{}[]#|" else one for one in line)
