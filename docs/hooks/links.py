"""Fails the build where a page of the finished site leads nowhere, or asks another host for a file.

`mkdocs --strict` checks the links that it writes itself; this reads the pages as a browser does, so
those of rendered notebooks, of the API and of pages made by hooks count as well.
"""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from mkdocs.exceptions import PluginError

LOADED = {"script", "img", "iframe", "source", "link"}  # a page fetches these by itself
HERE = "https://site.invalid"
UNLOADED = {"canonical", "alternate", "prev", "next", "edit"}  # of <link>: nothing is fetched


class Page(HTMLParser):
    """Its targets, and what it leads to."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        target = given.get("href") or given.get("src")
        if target is None:
            return
        self.links.append(target)
        if tag in LOADED and given.get("rel") not in UNLOADED:
            self.loads.append(target)


def on_post_build(config, **_):
    """Called by mkdocs when everything is written."""
    wrong = problems(Path(config["site_dir"]))
    if wrong:
        raise PluginError("\n".join(["links that lead nowhere:", *wrong]))


def problems(site):
    """`page: link` for every link without a target in the site, and every foreign file."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # it is shown at any address, so its links begin at the host's root
        name = path.relative_to(site).as_posix()
        wrong += [f"{name}: loads {one}" for one in page.loads if urlsplit(one).netloc]
        wrong += [f"{name}: {one}" for one in page.links if not leads(site, pages, name, one)]
    return wrong


def leads(site, pages, name, link):
    """Whether a link of the page `name` has a target; those to other hosts are believed."""
    parts = urlsplit(urljoin(f"{HERE}/{name}", link))
    if f"{parts.scheme}://{parts.netloc}" != HERE:
        return True
    path = site / unquote(parts.path).lstrip("/")
    path = path / "index.html" if path.is_dir() else path
    if path not in pages:
        return path.is_file()
    return not parts.fragment or unquote(parts.fragment) in pages[path].ids
