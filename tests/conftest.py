"""Fixtures that several test modules share: the built book, and copies of the project to build."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from selenium import webdriver

# The same examples on every run, and no limit on their time: a test must not fail because the
# machine is busy. HYPOTHESIS_PROFILE=explore looks for new examples.
settings.register_profile(
    "fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "_build", "__pycache__", ".pytest_cache", ".hypothesis", ".*_cache", "htmlcov"
)

Build = Callable[..., subprocess.CompletedProcess]

# Runs at the start of every Python process of a build without a network: whoever looks up a name or
# connects to another host gets an error, and an entry in a list, should the error be caught.
NO_NETWORK = """
import os
import sys


def _refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        far = isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        address = arguments[0]
        far = address not in (None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0")
    else:
        return
    if far:
        with open(os.environ["NETWORK_LIST"], "a") as file:
            file.write(f"{event}: {address}\\n")
        raise OSError(f"no network here, and {event} asks for {address}")


sys.addaudithook(_refuse)
"""


@dataclass(frozen=True)
class Offline:
    """What keeps a process and its children from the network.

    Attributes
    ----------
    prefix : tuple of str
        Start of the command: a namespace without any network device, where the system permits.
    environment : dict
        Variables that put the guard into every Python process.
    asked : Path
        The list of what asked for the network all the same.
    """

    prefix: tuple[str, ...]
    environment: dict[str, str]
    asked: Path


def no_network(folder: Path) -> Offline:
    """Prepare a folder with the guard, and find out whether the system can do without network."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    asked = folder / "asked.txt"
    prefix = ("unshare", "--map-root-user", "--net")
    permitted = shutil.which("unshare") is not None and (
        subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    )
    variables = {"PYTHONPATH": str(folder), "NETWORK_LIST": str(asked)}
    return Offline(prefix if permitted else (), variables, asked)


def build_book(
    project: Path,
    *,
    jobs: int | None = None,
    kernels: str = "warm",
    offline: Offline | None = None,
) -> subprocess.CompletedProcess:
    """Build the book of a project as ``make book`` does, and return the finished process."""
    environment = {name: text for name, text in os.environ.items() if name != "BOOK_JOBS"}
    environment["BOOK_KERNELS"] = kernels
    if jobs is not None:
        environment["BOOK_JOBS"] = str(jobs)
    environment |= offline.environment if offline else {}
    return subprocess.run(
        [*(offline.prefix if offline else ()), sys.executable, "-m", "analysis.bookbuild"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="session")
def build() -> Build:
    """The function that builds the book of a project."""
    return build_book


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    """What keeps a build from the network; see `build_book`."""
    return no_network(tmp_path / "no network")


@pytest.fixture(scope="session")
def built_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built book, brought up to date once for all test processes."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    failed, done = shared / "book-failed.txt", shared / "book-done.txt"
    with (shared / "book.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() and not failed.exists():
            process = build_book(ROOT)
            (failed if process.returncode else done).write_text(process.stdout, encoding="utf-8")
    if failed.exists():
        pytest.fail(f"the book does not build:\n{failed.read_text(encoding='utf-8')}")
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests of a process; skips where there is none."""
    from tests.browsing import start

    chrome = start(tmp_path_factory.mktemp("profile"))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="session")
def copy_project() -> Callable[[Path], Path]:
    """A function that copies the project, without what was built or installed, to a new folder."""

    def copy(target: Path) -> Path:
        shutil.copytree(ROOT, target, ignore=LEFT_OUT)
        return target

    return copy
