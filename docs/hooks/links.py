"""Fails the build where a page of the finished site leads nowhere, or loads a file of another host.

`mkdocs --strict` checks the links that it writes itself; this reads the pages as a browser does, so
those of rendered notebooks, of the API and of pages made by hooks count as well. What style sheets
and scripts fetch by themselves is not seen here.
"""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from mkdocs.exceptions import PluginError

ROOT = "https://site.invalid/a/b/"  # a site may stand below the root of its host
TARGETS = ("href", "src", "srcset", "poster", "data")
LOADED = {"audio", "embed", "iframe", "image", "img", "object", "script", "source", "video"}
FETCHED = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "manifest"}  # by <link>


class Page(HTMLParser):
    """Its targets, and what it leads to."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads = {"", "top"}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = {name: (value or "").strip() for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a":
            self.ids.add(given.get("name", ""))
        found = [one for name in TARGETS if given.get(name) for one in addresses(name, given[name])]
        self.links += found
        if tag in LOADED or (tag == "link" and FETCHED & set(given.get("rel", "").split())):
            self.loads += found


def addresses(name, value):
    """Those in an attribute."""
    if name == "srcset":
        return [one.split()[0] for one in value.split(",") if one.strip()]
    return [value]


def on_post_build(config, **_):
    """Called by mkdocs when everything is written."""
    wrong = problems(Path(config["site_dir"]))
    if wrong:
        raise PluginError("\n".join(["links of the site that must be mended:", *wrong]))


def problems(site):
    """`page: link, what is wrong` for every link without a target, and every foreign file."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        wrong += [f"{name}: {one} is of another host" for one in page.loads if foreign(one)]
        if name != "404.html":  # it is shown at any address, so its links begin at the root
            nowhere = [one for one in page.links if not leads(site, pages, name, one)]
            wrong += [f"{name}: {one} leads nowhere" for one in nowhere]
    return wrong


def foreign(link):
    """Whether a link is to another host."""
    try:
        return bool(urlsplit(link).netloc)
    except ValueError:
        return True


def leads(site, pages, name, link):
    """Whether a link of the page `name` has a target; those to other hosts are believed."""
    try:
        address = urljoin(ROOT + name, link)
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or (parts.netloc and foreign(link)):
        return True
    if not address.startswith(ROOT):
        return False
    path = site / unquote(parts.path.removeprefix(urlsplit(ROOT).path))
    path = path / "index.html" if path.is_dir() else path
    if path not in pages:
        return path.is_file()
    return unquote(parts.fragment) in pages[path].ids
