"""A coordinator that runs beside this process, in a program of its own."""

from __future__ import annotations

import atexit
import os
import tempfile
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import List, Optional, Tuple, Type, Union

from . import _bundle
from ._binary import PotluckError
from ._display import Progress, display_for
from ._process import JOIN_SCHEME, Option, Running, Secret, arguments, positional, stop


class Coordinator:
    """A running coordinator: a handle, and a context manager that stops it. Made by serve(). Thread-safe.

    It ends with this process at the latest. A state folder of one's own outlives it: serve() again goes on there.
    """

    def __init__(
        self, command: Running, join_string: str, state: Path, scratch: Optional[tempfile.TemporaryDirectory[str]]
    ):
        self._command = command
        self._scratch = scratch
        self._lock = threading.RLock()
        self._stopping = False  # Nobody reads what it writes any more.
        self._stopped = False
        self.state = state
        #: A secret: all that a worker needs to join.
        self.join_string = join_string
        self._reader = threading.Thread(target=self._read, name="potluck coordinator", daemon=True)
        self._reader.start()
        _running.add(self)

    @property
    def admin_join(self) -> str:
        """The file that holds the secret with which commands may do everything."""
        return str(self.state / "admin.join")

    @property
    def worker_join(self) -> str:
        """The file that holds the join string."""
        return str(self.state / "worker.join")

    @property
    def running(self) -> bool:
        return self._command.process.poll() is None

    @property
    def log(self) -> List[str]:
        """The last lines of its log."""
        return list(self._command.lines)

    def stop(self) -> None:
        """Stops it, if it runs. Its jobs stay in the state folder, unless that is a temporary one."""
        with self._lock:
            if self._stopped:
                return
            self._stopping = True
            self._reader.join()
            stop(self._command)  # Interrupted here, another call goes on.
            self._stopped = True
            if self._scratch is not None:
                self._scratch.cleanup()
            _running.discard(self)

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<potluck.Coordinator at {self.state}, {'running' if self.running else 'stopped'}>"

    # Nobody else reads what it writes, and a full pipe would hold it up.
    def _read(self) -> None:
        self._command.pump(lambda: self._stopping, lambda data: None)


_running: weakref.WeakSet[Coordinator] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for coordinator in list(_running):
        coordinator.stop()


def serve(
    state: Union[None, str, os.PathLike[str]] = None,
    *,
    listen: str = "127.0.0.1:0",
    public: Optional[str] = None,
    progress: Progress = False,
    **options: Option,
) -> Coordinator:
    """Starts a coordinator; returns once it serves.

    `state` is the folder where everything is kept; None takes one that goes when it stops. The default of `listen` is
    for this machine only: "0.0.0.0:4242" serves others too, at the address that `public` names. `progress` shows its
    log. Further options are the flags of `potluck serve`: lease=30, retain=7.
    """
    scratch = tempfile.TemporaryDirectory(prefix="potluck-") if state is None else None
    folder = Path(scratch.name if scratch is not None else positional("state", state or ""))
    if "bundle" not in options:
        options["bundle"] = _bundle.folder()
    args = ["serve", *arguments({"state": folder, "listen": listen, "public": public, **options})]
    command = Running(args, display_for(progress))
    try:
        join_string = _first_line(command)
        if not join_string:
            command.process.wait()
            raise command.failure()
        return Coordinator(command, join_string, folder, scratch)
    except BaseException:
        stop(command)
        if scratch is not None:
            scratch.cleanup()
        raise


def _first_line(command: Running) -> str:
    output = bytearray()
    command.pump(lambda: b"\n" in output, output.extend)
    return bytes(output).partition(b"\n")[0].decode("utf-8", "replace").strip()


Where = Union[None, str, "os.PathLike[str]", Coordinator]


def worker_secret(join: Where) -> Secret:
    """Tells a worker where to go: by its environment. None: what that says already."""
    if join is None:
        return Secret()
    return Secret(environment={"POTLUCK_JOIN": join.worker_join if isinstance(join, Coordinator) else _given(join)})


def client_flag(coordinator: Where) -> Tuple[Optional[str], Secret]:
    """Tells a command where to go: the value of its --coordinator, and what it then reads. None: this machine."""
    if coordinator is None:
        return None, Secret()
    if isinstance(coordinator, Coordinator):
        return coordinator.admin_join, Secret()
    text = _given(coordinator)
    return ("-", Secret(stdin=text + "\n")) if text.startswith(JOIN_SCHEME) else (text, Secret())


def _given(coordinator: Union[str, os.PathLike[str]]) -> str:
    text = os.fspath(coordinator).strip()
    if not text or text == "-":
        raise PotluckError(
            f'the coordinator is "{text}"; allowed is a join string, the name of a file that holds one, or what '
            "serve() returned"
        )
    return text
