"""CircuitsVis HTML that never asks the network."""

import re
from functools import cache
from importlib import resources

from circuitsvis.utils.render import RenderedHTML

UNCLOSED = re.compile(r'(<div id="circuits-vis-[^>]*?)\s*/>')


def close_container(source: str) -> str:
    """Close the container that CircuitsVis leaves open.

    A browser would put all that follows on the page into it, and the element would replace that.

    Examples:
        >>> close_container('<div id="circuits-vis-1" style="margin: 0;"/>')
        '<div id="circuits-vis-1" style="margin: 0;"></div>'
    """
    return UNCLOSED.sub(r"\1></div>", source)


class OfflineHTML(RenderedHTML):
    """A rendered element that always shows its local source.

    Its parent looks for the network at every display, and takes the library from outside when
    there is one.

    Examples:
        >>> OfflineHTML("<p>shown</p>")._repr_html_()
        '<p>shown</p>'
    """

    def __init__(self, source: str):
        super().__init__(local_src=source, cdn_src=source)

    def _repr_html_(self) -> str:
        return self.local_src


@cache
def library() -> str:
    """The JavaScript of CircuitsVis, as its elements hold it.

    Examples:
        >>> "ColoredTokensMulti" in library()
        True
    """
    source = resources.files("circuitsvis").joinpath("dist", "cdn", "iife.js").read_text("utf-8")
    return source.replace("</script>", "")
