"""What wheel and sdist hold, and that the wheel works where the sources are not."""

import ast
import json
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import retrieval_lens as rl
from tests.packaging import clean
from tests.packaging.conftest import ROOT, build

DATA = [
    "py.typed",
    "analysis/data/published_tables.json",
    "tasks/multihop/questions.json",
    *(f"tasks/haystack/{name}.txt" for name in ("letters", "workshop", "coast", "essays")),
]


def contents(wheel):
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    found = contents(wheel)
    assert {f"retrieval_lens/{name}" for name in DATA} <= set(found)
    tops = {name.split("/")[0] for name in found}
    assert tops == {"retrieval_lens", f"retrieval_lens-{rl.__version__}.dist-info"}
    assert not [name for name in found if {"tests", "__pycache__"} & set(name.split("/"))]


def test_the_wheel_holds_every_file_that_git_knows(wheel):
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    options = ("-z", "--cached", "--others", "--exclude-standard", "retrieval_lens")
    command = ("git", "ls-files", *options)
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    known = {name for name in listed.split("\0") if name and (ROOT / name).exists()}
    packed = {name: data for name, data in contents(wheel).items() if "dist-info" not in name}
    assert set(packed) == known
    assert all(data == (ROOT / name).read_bytes() for name, data in packed.items())


def test_the_sdist_builds_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    named = ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "PKG-INFO")
    assert {*named, "retrieval_lens"} == {p.name for p in source.iterdir()} - {".gitignore"}
    (again,) = build(source, tmp_path / "again", "wheel").iterdir()
    assert again.name == wheel.name and contents(again) == contents(wheel)


def test_metadata(site):
    from trove_classifiers import classifiers

    (found,) = metadata.distributions(name="retrieval-lens", path=[str(site)])
    about = found.metadata
    assert (about["Name"], found.version) == ("retrieval-lens", rl.__version__)
    assert about["License-Expression"] == "Apache-2.0" and about["Requires-Python"] == ">=3.11"
    assert [p.name for p in found.files or () if p.parent.name == "licenses"] == ["LICENSE"]
    given = about.get_all("Classifier") or []
    assert given and not set(given) - classifiers and "Typing :: Typed" in given
    assert {"cluster", "notebooks"} <= set(about.get_all("Provides-Extra") or ())
    required = [Requirement(text) for text in found.requires or ()]
    assert not [one for one in required if one.url]  # an index refuses them
    assert about["Description-Content-Type"] == "text/markdown"
    assert about["Description"].strip() == (ROOT / "README.md").read_text("utf-8").strip()


LOOK = """
import pkgutil
import retrieval_lens as rl
from retrieval_lens.analysis import published_table
from retrieval_lens.tasks.haystacks import read_haystack
rl.load_model
assert len(published_table("table1"))
assert len(rl.tasks.hotpotqa.read("own")) > 50
assert all(len(read_haystack(name)[1]) > 5000 for name in rl.tasks.HAYSTACKS)
names = [one.name for one in pkgutil.walk_packages(rl.__path__, "retrieval_lens.")]
for name in names:
    if not name.endswith("__main__"):
        __import__(name)
print(rl.__file__, len(names))
"""


def test_the_installed_wheel_works_with_what_it_requires_alone(site, python, outside):
    done = outside(python, "-c", LOOK)
    assert (done.returncode, done.stderr) == (0, "")
    where, count = done.stdout.split()
    assert Path(where) == site / "retrieval_lens" / "__init__.py"
    assert int(count) > 200


def test_that_environment_has_no_more(site, python, outside):
    (ours,) = metadata.distributions(name="retrieval-lens", path=[str(site)])
    there = {canonicalize_name(one.name) for one in metadata.distributions(path=[str(site)])}
    wanted = clean.closure(ours.requires or ()) | {"retrieval-lens"}
    base = {"pip", "setuptools"}  # every environment begins with these
    assert there | base == wanted | base
    assert "pytest" not in there and "No module named" in outside(python, "-c", "import ray").stderr


def imported():
    """Third-party names that the package imports, at the top of a file or within a function."""
    found = {}
    for path in sorted((ROOT / "retrieval_lens").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in {one.split(".")[0] for one in names} - set(sys.stdlib_module_names):
                found.setdefault(name, path.name)
    found.pop("retrieval_lens")
    return found


def test_what_is_imported_is_required_by_name(site):
    (ours,) = metadata.distributions(name="retrieval-lens", path=[str(site)])
    required = [Requirement(text) for text in ours.requires or ()]
    always = {canonicalize_name(one.name) for one in required if one.marker is None}
    owners = metadata.packages_distributions()
    missing = {
        name: place
        for name, place in imported().items()
        if not {canonicalize_name(owner) for owner in owners.get(name, ())} & always
    }
    assert set(missing) == {"ray", "choreographer"}, "those of the extras cluster and notebooks"


def test_its_commands(python, outside):
    script = python.with_name("retrieval-lens")
    for command in ((python, "-m", "retrieval_lens"), (script,)):
        done = outside(*command, "--version")
        assert (done.returncode, done.stdout.strip()) == (0, rl.__version__), done.stderr
    healthy = outside(script, "doctor")
    assert healthy.returncode == 0 and "Nothing found that stops a trace" in healthy.stdout


@pytest.mark.slow
def test_its_types_reach_the_user(site, python, outside):
    """pyright's own measure; what it calls unknown is inferred, or comes from libraries."""
    pyright = Path(sys.executable).with_name("pyright")
    options = ("--verifytypes", "retrieval_lens", "--ignoreexternal", "--outputjson")
    done = outside(pyright, *options, "--pythonpath", python)
    found = json.loads(done.stdout)["typeCompleteness"]
    assert Path(found["pyTypedPath"]) == site / "retrieval_lens" / "py.typed"
    assert sum(found["exportedSymbolCounts"].values()) > 2000
    assert found["missingFunctionDocStringCount"] == found["missingClassDocStringCount"] == 0
    assert found["completenessScore"] > 0.99
