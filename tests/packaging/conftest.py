"""Wheel and sdist, built once, and the wheel installed with what it requires alone."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.packaging import clean

ROOT = Path(__file__).parents[2]


def build(source, target, *kinds):
    """Build with the backend itself: no network, no environment of its own."""
    wanted = [part for kind in kinds for part in ("-t", kind)]
    command = [sys.executable, "-m", "hatchling", "build", *wanted, "-d", str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n(hatchling is in the extra dev)"
    return target


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A folder with wheel and sdist."""
    return build(ROOT, tmp_path_factory.mktemp("built"), "sdist", "wheel")


@pytest.fixture(scope="session")
def wheel(built):
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def sdist(built):
    (found,) = built.glob("*.tar.gz")
    return found


def plain():
    """The variables of this process without those that tell Python where to look."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="session")
def environment(wheel, tmp_path_factory):
    """The wheel and what it requires, and nothing else: interpreter, folder of packages."""
    requires = next(metadata.distributions(path=[str(wheel)])).requires or ()
    python, site = clean.make(tmp_path_factory.mktemp("clean"), requires)
    flags = "--no-index --quiet --disable-pip-version-check --no-compile"
    pip = (sys.executable, "-m", "pip", "--python", str(python))
    for command in (("install", *flags.split(), str(wheel)), ("check",)):
        done = subprocess.run((*pip, *command), capture_output=True, text=True, env=plain())
        assert done.returncode == 0, done.stdout + done.stderr
    return python, site


@pytest.fixture
def python(environment):
    return environment[0]


@pytest.fixture
def site(environment):
    return environment[1]


@pytest.fixture
def outside(python, tmp_path):
    """Run a command of that environment far from the sources."""
    env = plain() | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}

    def outside(*command):
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    return outside
