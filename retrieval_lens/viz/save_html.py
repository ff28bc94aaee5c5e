"""Save what is shown as one HTML file that opens anywhere, without a network.

1. An explorer, or a trace to explore, becomes a page with the widget's own script, its numbers in
   base64 and its tokens as JSON. A figure, table or element becomes a `page` of one part.
2. A content security policy forbids every request, other bases of addresses, and forms.
3. The file is written beside its place and renamed: a crash leaves the old file or the new one.
"""

import html
import json
import sys
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_lens.errors import InputError
from retrieval_lens.files import write_atomically
from retrieval_lens.viz.labels import visible
from retrieval_lens.viz.trace_like import TraceLike

if TYPE_CHECKING:
    from retrieval_lens.viz.explorer.widget import Explorer

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
LAYOUT = """
:root { color-scheme: light dark; }
body { margin: 0; background: #fff; }
@media (prefers-color-scheme: dark) { body { background: #12161c; } }
body[data-md-color-scheme="default"] { background: #fff; }
body[data-md-color-scheme="slate"] { background: #12161c; }
main { max-width: 1500px; margin: 0 auto; padding: 12px clamp(6px, 2vw, 24px) 32px; }
"""


def save_html(what: Any, path: str | Path, *, title: Any = None) -> Path:
    """Write `what` to one HTML file and return its path; an older file is replaced.

    Args:
        what: an `Explorer` (what is chosen in it stays chosen), a trace, which is explored with
            the defaults, or a figure: Plotly, CircuitsVis, or a pandas table.
        path: where to.
        title: of the page, plain text; that of the explorer by default.

    Raises:
        InputError: something that cannot be shown, or a title that is not text.
        OSError: the file cannot be written (a full disk, say); an older file stays as it was.

    Examples:
        ```python
        path = rl.viz.save_html(trace, "trace.html")
        ```
    """
    path = Path(path)
    if not (title is None or isinstance(title, str)):
        raise InputError(f"title={title!r:.80}; wanted text or None")
    if isinstance(what, TraceLike):
        from retrieval_lens.viz.explorer.explore import explore

        what = explore(what, title=title)
    # nobody has an explorer without its module, and a figure needs no widget library
    widgets = sys.modules.get("retrieval_lens.viz.explorer.widget")
    if widgets is not None and isinstance(what, widgets.Explorer):
        document = _explorer_page(what, title)
    else:
        from retrieval_lens.viz.page import page

        document = page(title or "retrieval_lens", [(title or "Figure", None, what)])
    write_atomically(path, document.encode())
    return path


def _explorer_page(widget: "Explorer", title: str | None) -> str:
    from retrieval_lens.viz.explorer import assets

    meta = widget._meta if title is None else widget._meta | {"title": visible(title, False)}
    name = html.escape(meta["title"])
    state = json.dumps({"_meta": meta} | widget.chosen(), allow_nan=False)
    # in a script, `<` could end it; all else is ASCII
    state = state.replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>{LAYOUT}{assets.style()}</style>
</head>
<body>
<main id="explorer"></main>
<script type="application/json" id="state">{state}</script>
<script type="text/plain" id="data">{b64encode(widget._data).decode()}</script>
<script type="module">
{assets.script()}
{assets.host()}
</script>
</body>
</html>
"""
