"""Figures, tables and text as one HTML document that reads without a network.

1. Each part becomes a section: heading, text, figure.
2. The libraries that the figures need are put in once, whatever the number of figures.
3. A content security policy in the document forbids every request, other bases of addresses, and
   forms, so that it stays readable offline and tells nobody that it is read.
"""

import html
import re
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from retrieval_lens.errors import InputError
from retrieval_lens.viz.page_style import CSS

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; worker-src blob:; base-uri 'none'; form-action 'none'"
)
CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["sendChartToCloud"],  # it would upload the figure
    "plotlyServerURL": "",
}
SURROGATES = re.compile("[\ud800-\udfff]")  # halves of a character: no file can hold them


def page(
    title: str, parts: Sequence[tuple[str, str | None, Any]], *, subtitle: str | None = None
) -> str:
    r"""Write a self-contained document.

    Args:
        title: of the document and its first heading, plain text.
        parts: (heading, text or None, figure), in order: headings and texts are plain text, blank
            lines part paragraphs; a figure is a Plotly figure, a CircuitsVis element or a pandas
            table. Tokens in CircuitsVis elements that are not from `attention` must be escaped by
            whoever makes them.
        subtitle: a line under the title, plain text.

    Returns:
        HTML; save it with UTF-8 encoding.

    Raises:
        InputError: a figure of another kind.

    Examples:
        >>> import pandas as pd
        >>> document = page("Heads", [("Scores", "Of two heads.", pd.DataFrame({"head": [1, 2]}))])
        >>> document.startswith('<!DOCTYPE html>') and "<h2 id=\"part-1\">Scores</h2>" in document
        True
    """
    shared: dict[str, str] = {}
    sections = [_section(number, *part, shared) for number, part in enumerate(parts, 1)]
    name = html.escape(title)
    lead = f'<p class="subtitle">{html.escape(subtitle)}</p>' if subtitle else ""
    document = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>{CSS}</style>
{"".join(f"<script>{source}</script>{chr(10)}" for source in shared.values())}</head>
<body>
<main>
<header><h1>{name}</h1>{lead}</header>
{"".join(sections)}</main>
</body>
</html>
"""
    return SURROGATES.sub("\ufffd", document)


def _section(
    number: int, heading: str, text: str | None, figure: Any, shared: dict[str, str]
) -> str:
    """One part as HTML; what its figure needs of libraries is noted in `shared`."""
    name = html.escape(heading)
    paragraphs = "".join(
        f"<p>{html.escape(part)}</p>\n" for part in re.split(r"\n\s*\n", text or "") if part.strip()
    )
    kind, body = _figure(number, heading, figure, shared)
    return f"""<section aria-labelledby="part-{number}">
<h2 id="part-{number}">{name}</h2>
{paragraphs}<figure class="{kind}" tabindex="0" aria-label="{html.escape(heading)}">
{body}
</figure>
</section>
"""


def _figure(number: int, heading: str, figure: Any, shared: dict[str, str]) -> tuple[str, str]:
    """The kind of a figure and its HTML without libraries."""
    import pandas as pd

    if isinstance(figure, go.Figure):
        from plotly.offline import get_plotlyjs

        shared["plotly"] = get_plotlyjs()
        body = figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=f"figure-{number}",
            config=CONFIG,
        )
        return ("chart sized" if figure.layout.width else "chart"), body
    if isinstance(figure, pd.DataFrame):
        return "table", figure.to_html(border=0, float_format=lambda value: f"{value:.4g}")
    if hasattr(figure, "local_src"):
        return "tokens", _circuitsvis(figure.local_src, shared)
    raise InputError(
        f"part {number} ({heading!r}) has a figure of type {type(figure).__name__}; wanted a "
        "Plotly figure, a CircuitsVis element or a pandas DataFrame"
    )


def _circuitsvis(source: str, shared: dict[str, str]) -> str:
    """A CircuitsVis element whose library is moved to the head of the page."""
    from retrieval_lens.viz.offline_html import close_container, library

    shared["circuitsvis"] = library()
    return close_container(source.replace(library(), ""))
