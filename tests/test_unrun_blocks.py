"""Code of the documentation that needs a GPU, a hub, a cluster or hours is checked by its types.

Blocks marked `python` are run; those marked `py` are not, so that their names, arguments and
imports are compared with the package instead. A page is one module, each line where it stands.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(python|py)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def module(text):
    """The page's code with every other line blank, and the line numbers of what is not run."""
    lines, unrun = [""] * text.count("\n"), set()
    for block in BLOCK.finditer(text):
        first = text[: block.start()].count("\n") + 1
        code = block[2].splitlines()
        lines[first : first + len(code)] = code
        unrun |= set(range(first, first + len(code))) if block[1] == "py" else set()
    return "\n".join(lines) + "\n", unrun


def wrong(folder, pages):
    """`page:line message` for each error in code that is not run; `pages` maps names to texts."""
    unrun = {}
    for name, text in pages.items():
        code, unrun[name] = module(text)
        fences = len(re.findall(r"^\s*(?:```|~~~)\s*py\b", text, re.MULTILINE))
        assert fences == sum(block[1] == "py" for block in BLOCK.finditer(text)), name
        (folder / f"{name}.py").write_text(code, "utf-8")
    (folder / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}), "utf-8")
    pyright = Path(sys.executable).with_name("pyright")
    command = (pyright, "--outputjson", "--pythonpath", sys.executable)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == len(pages)
    places = [
        (Path(one["file"]).stem, one["range"]["start"]["line"], one["message"])
        for one in found["generalDiagnostics"]
        if one["severity"] == "error"
    ]
    return [f"{name}:{line + 1} {message}" for name, line, message in places if line in unrun[name]]


@pytest.mark.slow
def test_blocks_that_are_not_run(tmp_path):
    names = ["__".join(path.relative_to(ROOT).with_suffix("").parts) for path in PAGES]
    texts = dict(zip(names, (path.read_text("utf-8") for path in PAGES), strict=True))
    pages = {name: text for name, text in texts.items() if "```py\n" in text}
    assert len(pages) > 5
    pages["broken"] = (
        "```python\nimport retrieval_lens as rl\nrl.nothing\n```\n\n"
        '```py\nrl.load_model("a", dtyp="x")\nrl.nothing\n```\n'
    )
    found = wrong(tmp_path, pages)
    assert [one for one in found if not one.startswith("broken")] == []
    assert [one.split()[0] for one in found] == ["broken:7", "broken:8"], "the check itself"
