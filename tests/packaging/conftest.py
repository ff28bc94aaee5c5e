"""Wheel and sdist, built once and installed beside nothing else of ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def site(wheel, tmp_path_factory):
    """A folder that the wheel is installed into, without what it requires."""
    site = tmp_path_factory.mktemp("site")
    flags = "--no-deps --no-index --quiet --disable-pip-version-check --target"
    command = [sys.executable, "-m", "pip", "install", *flags.split(), str(site), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def outside(site, tmp_path):
    """Run a command far from the sources; the installed package comes first."""
    here = Path(sys.executable).parent
    env = {**os.environ, "PYTHONPATH": str(site), "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}

    def outside(*command):
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    return outside
