"""Links of the notebooks to the documentation, on the site.

The notebooks link to `../docs/page.md#part`, which is where the page lies for whoever reads them
in the repository. On the site it is `../../page/#part`.
"""

import re

LINK = re.compile(r'href="\.\./docs/([^"#]+)\.md(#[^"]*)?"')


def on_post_page(output, page, **_):
    """Called by mkdocs for every page."""
    return site_links(output) if page.file.src_uri.endswith(".ipynb") else output


def site_links(html):
    """The same page with links that hold on the site."""
    return LINK.sub(lambda found: f'href="../../{found[1]}/{found[2] or ""}"', html)
