"""The script and the style sheet of the explorer, joined from the files in `static`.

The script is one ES module without imports: the files stand one behind the other, in this order.
"""

from functools import cache
from importlib import resources

SCRIPTS = ("data.js", "theme.js", "map.js", "prompt.js", "detail.js", "controls.js", "explorer.js")


def _read(name: str) -> str:
    folder = resources.files("retrieval_lens.viz.explorer") / "static"
    return folder.joinpath(name).read_text("utf-8")


@cache
def script() -> str:
    """The module that `anywidget` runs, and that a saved page holds.

    Examples:
        >>> "export default { render }" in script()
        True
    """
    return "\n".join(map(_read, SCRIPTS))


@cache
def style() -> str:
    """The style sheet.

    Examples:
        >>> ".rl-explorer" in style()
        True
    """
    return _read("explorer.css")


@cache
def host() -> str:
    """What stands in for a notebook in a saved page.

    Examples:
        >>> "mountSavedPage" in host()
        True
    """
    return _read("host.js")
