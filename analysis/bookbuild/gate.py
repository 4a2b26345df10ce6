"""The check of the data package that runs beside the chapters, and decides whether pages appear."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path


class DataCheck:
    """A check that is under way.

    Parameters
    ----------
    root : Path
        The folder of the project.
    environment : mapping
        Environment variables.
    """

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the check)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "analysis", "check", "--brief"],
            cwd=root,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )

    def failed(self) -> bool:
        """Say, without waiting, whether the check has ended and found an error."""
        return self._process.poll() not in {None, 0}

    def wait(self) -> tuple[bool, list[str]]:
        """Wait for the end. Return whether the data package is valid, and the lines printed."""
        valid = self._process.wait() == 0
        self._said.seek(0)
        return valid, self._said.read().decode("utf-8", "replace").splitlines()

    def close(self) -> None:
        """End the check, if it is still under way."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._said.close()


def start(stamp: Path, digest: str, root: Path, environment: Mapping[str, str]) -> DataCheck | None:
    """Start the check, unless nothing has changed since the data package was found valid.

    Parameters
    ----------
    stamp : Path
        File that keeps the digest of the data and the code that were last found in order.
    digest : str
        The digest of those of today.
    root : Path
        The folder of the project.
    environment : mapping
        Environment variables.

    Returns
    -------
    DataCheck or None
        None where there is nothing to check.
    """
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        return None
    return DataCheck(root, environment)
