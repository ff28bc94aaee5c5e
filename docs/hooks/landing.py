"""Makes the explorer of the landing page: a stored trace, with the scripts of this version.

`docs/how-to/explorer.md` tells how the trace was made.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from mkdocs.structure.files import File

import retrieval_lens as rl

HERE = Path(__file__).parent
TITLE = "SmolLM2-135M copies a UUID out of 200 tokens"


def on_files(files, config, **_):
    """Called by mkdocs with all files of the site."""
    files.append(File.generated(config, "explorer/needle.html", content=document()))
    return files


def document():
    """The page, as `save_html` writes it."""
    trace = rl.Trace.load(HERE / "needle.safetensors")
    static = rl.HeadSet.load(HERE / "needle_static.json")
    explorer = rl.viz.explore(trace, static=static, title=TITLE)
    explorer.step = 9
    with TemporaryDirectory() as folder:
        return rl.viz.save_html(explorer, Path(folder) / "needle.html").read_text("utf-8")
