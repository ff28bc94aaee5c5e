"""An environment that holds what a wheel requires, and nothing else.

1. The distributions that the wheel asks for are followed through their own requirements.
2. Those that are installed here are linked into an empty environment: the same files, no download.
3. pip installs the wheel there by its own metadata, without an index: a requirement that cannot be
   met is refused, and what the wheel does not ask for is not there.
"""

import sysconfig
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def make(folder: Path, requires: Iterable[str]) -> tuple[Path, Path]:
    """Make the environment, and give its interpreter and the folder of its packages."""
    venv.create(folder, symlinks=True)
    scheme = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    for name in closure(requires):
        one = metadata.distribution(name)
        for top in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            link = packages / top
            if not link.exists():  # several of the wanted ones may share a namespace
                link.symlink_to(one.locate_file(top))
    return Path(sysconfig.get_path("scripts", "venv", vars=scheme)) / "python", packages


def closure(requires: Iterable[str]) -> set[str]:
    """Names of all distributions that these requirements lead to on this machine."""
    todo = [(Requirement(text), {""}) for text in requires]
    extras: dict[str, set[str]] = {}
    while todo:
        wanted, of = todo.pop()
        if wanted.marker and not any(wanted.marker.evaluate({"extra": one}) for one in of):
            continue
        name = canonicalize_name(wanted.name)
        if name in extras and extras[name] >= wanted.extras:
            continue
        extras[name] = extras.get(name, set()) | wanted.extras
        asked = {"", *extras[name]}
        todo += [(Requirement(text), asked) for text in metadata.requires(name) or ()]
    return set(extras)
