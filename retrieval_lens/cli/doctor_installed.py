"""What the doctor finds installed: versions, imports, extras, and the browser for figures.

1. Every requirement that the package declares is compared with what is installed.
2. What a trace needs is imported, so that a broken install shows as one.
3. A missing extra is no problem: the line says what installs it.
"""

import sys
import time
from collections.abc import Iterator
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

from retrieval_lens.cli.doctor_finding import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "retrieval-lens"
EXTRAS = ("cluster", "notebooks")


def versions() -> Iterator[Finding]:
    """Every requirement of the package, beside what is installed."""
    from packaging.specifiers import SpecifierSet

    try:
        about = metadata.metadata(PACKAGE)
    except metadata.PackageNotFoundError:
        wrong = f"{PACKAGE} is not installed: pip install it, or -e its folder"
        yield Finding("versions", PACKAGE, "not installed", wrong, stops=True)
        return
    yield Finding("versions", PACKAGE, about["Version"])
    python, wanted = sys.version.split()[0], about["Requires-Python"] or ""
    fits = SpecifierSet(wanted).contains(python, prereleases=True)
    wrong = "" if fits else f"Python {python} lies outside {wanted}: make a new environment"
    yield Finding("versions", "python", python, wrong)
    for requirement in _requirements(""):
        yield _installed("versions", requirement)


def _requirements(extra: str) -> "list[Requirement]":
    """What the package itself requires, or what one of its extras adds."""
    from packaging.requirements import Requirement

    found = []
    for text in metadata.requires(PACKAGE) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        added = marker is not None and not always and marker.evaluate({"extra": extra})
        found += [requirement] if (added if extra else always) else []
    return found


def _installed(section: str, requirement: "Requirement", extra: str = "") -> Finding:
    """A distribution against the range that is asked for; one of an extra may be missing."""
    name, wanted = requirement.name, requirement.specifier
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = None
    cure = f"pip install '{name}{wanted}'"
    if not found and extra:
        return Finding(section, name, f"not installed; pip install '{PACKAGE}[{extra}]'")
    if not found:
        return Finding(section, name, "not installed", f"{name} is missing: {cure}", stops=True)
    if not wanted.contains(found, prereleases=True):
        return Finding(section, name, found, f"{name} {found} lies outside {wanted}: {cure}")
    return Finding(section, name, found)


def imports() -> Iterator[Finding]:
    """Whether what is installed can be imported too."""
    for module in ("torch", "transformer_lens.model_bridge", "retrieval_lens.tracing"):
        start = time.perf_counter()
        try:
            import_module(module)
        except Exception as error:  # a broken install raises anything
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            wrong = f"{module} cannot be imported ({said}): install it again"
            yield Finding("imports", f"import {module}", "fails", wrong, stops=True)
        else:
            found = f"in {time.perf_counter() - start:.1f} s"
            yield Finding("imports", f"import {module}", found)


def extras() -> list[Finding]:
    """What the extras for users add."""
    try:
        return [
            _installed(f"extra {extra}", requirement, extra)
            for extra in EXTRAS
            for requirement in _requirements(extra)
        ]
    except metadata.PackageNotFoundError:
        return []


def figures() -> Iterator[Finding]:
    """The browser that turns figures into PNG, SVG and PDF."""
    if find_spec("choreographer") is None:
        return
    from choreographer.browsers.chromium import Chromium

    path = Chromium.find_browser(skip_local=False)
    wrong = "PNG, SVG and PDF of figures need Chrome or Chromium: install it, or set BROWSER_PATH"
    yield Finding("figures", "browser", path or "none", "" if path else wrong)
