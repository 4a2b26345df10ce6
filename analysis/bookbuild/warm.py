"""Kernels that start warm: copies of one process that has done the imports and read the data.

A fresh kernel spends two seconds on importing what every chapter imports. Here one process does
that once and is then copied (``fork``) for each chapter. It has run no cell, so a chapter finds
nothing of another chapter in it; modules that are imported already and tables that are read
already are all that differs from a fresh kernel.

The process that is copied is this module run as a program. It talks to the build over a socket:
each request names the command, folder and environment of a kernel and brings one end of a pair of
sockets, which the copy holds open for as long as it lives.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIBRARIES = (
    "contourpy",
    "fastjsonschema",
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "matplotlib.textpath",
    "myst_nb.core.execute",
    "myst_nb.ext.glue",
    "numpy",
    "pandas",
    "pymare.estimators",
    "scipy.optimize",
    "scipy.special",
    "scipy.stats",
)
"""What takes time to import and has no state that a chapter could see. Not ``pyplot``: it must find
the kernel that it belongs to when it is imported."""

LEFT_OUT = ("analysis.__main__", "analysis.bookbuild", "analysis.cli")
READY = "ready"
_LONGEST = 1 << 20


class ForkedProcess:
    """A copy of the warm process, as far as Jupyter's client wants to know about a process."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, life: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._life = life

    def poll(self) -> int | None:
        """Return None while the process lives, and 0 afterward."""
        if self.returncode is None:
            self._life.setblocking(False)
            try:
                ended = self._life.recv(1) == b""
            except BlockingIOError:
                ended = False
            except OSError:
                ended = True
            if ended:
                self.returncode = 0
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended."""
        if self.returncode is None:
            self._life.settimeout(timeout)
            with contextlib.suppress(ConnectionError):
                self._life.recv(1)
            self.returncode = 0
        self._life.close()
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process."""
        self.send_signal(signal.SIGKILL)


class WarmParent:
    """The process of which kernels are copies.

    Parameters
    ----------
    root : Path
        The folder of the project.
    environment : mapping
        Its environment variables, and the first ones of every copy.
    """

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "analysis.bookbuild.warm", str(theirs.fileno())],
                cwd=root,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._lock = threading.Lock()
        self._state: str | None = None

    def state(self) -> str:
        """Wait until it is warm. Return ``"ready"``, or the reason why it is of no use."""
        with self._lock:
            if self._state is None:
                self._state = self._control.recv(_LONGEST).decode("utf-8", "replace") or "it ended"
            return self._state

    def copy(self, command: Sequence[str], cwd: str, env: Mapping[str, str]) -> ForkedProcess:
        """Start a kernel.

        Parameters
        ----------
        command : sequence of str
            The command of a fresh kernel; its last arguments name the connection file.
        cwd : str
            The folder in which the kernel runs.
        env : mapping
            Its environment variables.

        Raises
        ------
        ChildProcessError
            If the process that is to be copied has ended.
        """
        arguments = list(command[command.index("-f") :])
        request = {"arguments": arguments, "cwd": str(cwd), "env": dict(env)}
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            text = json.dumps(request).encode()
            try:
                socket.send_fds(self._control, [len(text).to_bytes(8, "big")], [theirs.fileno()])
                self._control.sendall(text)
                answer = self._control.recv(64)
            except OSError:
                answer = b""
        if not answer:
            ours.close()
            raise ChildProcessError("the process that starts the kernels has ended")
        return ForkedProcess(int(answer), ours)

    def close(self) -> None:
        """End the process, and with it every copy that still runs."""
        self._control.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def available() -> bool:
    """Say whether this system can copy processes and hand sockets over."""
    return hasattr(os, "fork") and hasattr(socket, "send_fds")


def warm_up(root: Path) -> list[str]:
    """Import what chapters import, and read the data.

    What cannot be imported is left to the chapter that needs it, which then says why.

    Parameters
    ----------
    root : Path
        The folder of the project.

    Returns
    -------
    list of str
        The modules that could not be imported.
    """
    failed = []
    package = [
        module.name
        for module in pkgutil.walk_packages([str(root / "analysis")], "analysis.")
        if not module.name.startswith(LEFT_OUT)
    ]
    for name in (*LIBRARIES, *package):
        try:
            importlib.import_module(name)
        except Exception:
            failed.append(name)
    chapter: Any = sys.modules.get("analysis.chapter")
    if chapter is not None:
        with contextlib.suppress(Exception):
            chapter.dataset()
            chapter.estimands.prepare()
    return failed


def main(number: int) -> None:
    """Warm up, then start a kernel for each request until the build closes its end.

    Parameters
    ----------
    number : int
        The descriptor of the socket to the build.
    """
    control = socket.socket(fileno=number)
    # kernels end themselves when the process that started them is gone
    os.environ["JPY_PARENT_PID"] = str(os.getpid())
    # what a kernel would set before matplotlib is imported
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    del sys.path[0]
    with tempfile.TemporaryFile() as said:
        streams = [os.dup(1), os.dup(2)]
        for descriptor in (1, 2):
            os.dup2(said.fileno(), descriptor)
        warm_up(Path.cwd())
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, descriptor)
            os.close(stream)
        said.seek(0)
        noise = said.read().decode("utf-8", "replace").strip()
    if noise:
        # a fresh kernel would show it in the chapter, and the build would fail
        control.sendall(f"an import writes: {noise}"[:4000].encode())
        return
    if _threads() > 1:
        control.sendall(b"an import starts a thread")
        return
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, _collect)
    control.sendall(READY.encode())
    while True:
        head, descriptors, _, _ = socket.recv_fds(control, 8, 1, socket.MSG_WAITALL)
        if not head:
            return
        text = _receive(control, int.from_bytes(head, "big"))
        pid = os.fork()
        if pid == 0:
            control.close()
            _become_kernel(json.loads(text))
        os.close(descriptors[0])
        control.sendall(str(pid).encode())


def _collect(signum: int, frame: FrameType | None) -> None:
    """Take note of copies that have ended, so that their time counts as that of the build."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _threads() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else threading.active_count()


def _receive(control: socket.socket, length: int) -> bytes:
    parts = b""
    while len(parts) < length:
        part = control.recv(length - len(parts))
        if not part:
            raise EOFError("a request was cut short")
        parts += part
    return parts


def _become_kernel(request: dict[str, Any]) -> None:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        backend = os.environ["MPLBACKEND"]
        os.environ.clear()
        os.environ.update(request["env"], JPY_PARENT_PID=str(os.getppid()), MPLBACKEND=backend)
        os.chdir(request["cwd"])
        sys.argv = ["ipykernel_launcher.py", *request["arguments"]]
        from ipykernel import kernelapp

        kernelapp.launch_new_instance()
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    # the build may end before it has asked for anything
    with contextlib.suppress(BrokenPipeError):
        main(int(sys.argv[1]))
