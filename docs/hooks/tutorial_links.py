"""Links of the notebooks, as they hold on the site.

In the repository a notebook links to `../docs/page.md#part`, to `02_other.ipynb` and to
`images/picture.png`. On the site it is a folder of its own, and these are `../../page/#part`,
`../02_other/` and `../images/picture.png`.
"""

import re

PAGE = re.compile(r'href="\.\./docs/([^"#]+)\.md(#[^"]*)?"')
NOTEBOOK = re.compile(r'href="(\d\d_\w+)\.ipynb"')
PICTURE = re.compile(r'src="images/')


def on_post_page(output, page, **_):
    """Called by mkdocs for every page."""
    return site_links(output) if page.file.src_uri.endswith(".ipynb") else output


def site_links(html):
    """The same page with links that hold on the site."""
    html = PAGE.sub(lambda found: f'href="../../{found[1]}/{found[2] or ""}"', html)
    return PICTURE.sub('src="../images/', NOTEBOOK.sub(r'href="../\1/"', html))
