"""Runs the program: arguments, secrets, output, interrupts.

A program is started in a session of its own, so that an interrupt reaches it once, from here. Its standard error is a
pseudo-terminal, on which it shows progress as it does to people. It ends with this process, whatever ends that
(POTLUCK_OWNER). Functions are thread-safe; a Running belongs to one thread at a time.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import pty
import selectors
import shutil
import signal
import struct
import subprocess
import termios
import time
import tty
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Union

from ._binary import PotluckError, check_machine, loader_sentence, program
from ._display import Display, said

Option = Union[None, bool, int, float, str, "os.PathLike[str]", datetime.timedelta]

# The program ends when the thread that started it does: all are started by one that lives as long as this process.
OWNER = "POTLUCK_OWNER"

_LOOK_INTERVAL = 0.2  # Seconds.
_MOST_KEPT = 100  # Lines of standard error.
JOIN_SCHEME = "potluck://"

_starter = ThreadPoolExecutor(1, thread_name_prefix="potluck")


def _new_starter() -> None:
    global _starter
    _starter = ThreadPoolExecutor(1, thread_name_prefix="potluck")


os.register_at_fork(after_in_child=_new_starter)


def arguments(options: Mapping[str, Option]) -> List[str]:
    """Flags as the program has them: max_steps=5 is --max-steps 5, overwrite=True is --overwrite, None is left out."""
    flags: List[str] = []
    for name, value in options.items():
        flag = "--" + name.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            flags.append(flag)
            continue
        if isinstance(value, datetime.timedelta):
            value = f"{value.total_seconds():g}s"
        text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
        if JOIN_SCHEME in text:
            raise PotluckError(f"{name} holds a join string, which is a secret: hand it over as the coordinator")
        flags.append(f"{flag}={text}")
    return flags


def positional(name: str, value: Union[str, "os.PathLike[str]"]) -> str:
    """`value` as an argument that is not a flag."""
    text = os.fspath(value)
    if not text or text.startswith("--") or JOIN_SCHEME in text:
        shown = "a join string" if JOIN_SCHEME in text else f'"{text}"'
        raise PotluckError(f"{name} is {shown}; allowed is a name or a path that does not begin with --")
    return text


@dataclasses.dataclass(frozen=True)
class Secret:
    """What a program is told in a way that no list of processes shows."""

    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    stdin: str = dataclasses.field(default="", repr=False)  # Less than a pipe holds.


class Running:
    """A program that was started and has not been waited for."""

    def __init__(self, args: Sequence[str], display: Display, secret: Secret = Secret()):
        check_machine()
        self.display = display
        self.lines: List[str] = []  # The last ones of standard error.
        self._master, slave = pty.openpty()
        try:
            tty.setraw(slave)
            columns = shutil.get_terminal_size((100, 24)).columns
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            self.process = _start([program(), *args], slave, secret)
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)
        os.set_blocking(self._master, False)
        self._errors = _Lines(self._line)

    def pump(self, until: Callable[[], bool], output: Callable[[bytes], None]) -> None:
        """Reads what the program writes until `until` or its end."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._master, selectors.EVENT_READ)
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not until():
                ended = self.process.poll() is not None
                # What it started may hold its output open: once it has ended, what is there is all there is.
                ready = selector.select(0 if ended else _LOOK_INTERVAL)
                for key, _ in ready:
                    data = _read(key.fd)
                    if data is None:
                        continue
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fd == self._master:
                        self._errors.feed(data)
                    else:
                        output(data)
                if ended and not ready:
                    return
                if not selector.get_map():
                    self.process.wait()
                    return

    def wait(self, output: Callable[[bytes], None]) -> bool:
        """Until it has ended; an interrupt is handed on, a second one too. Whether there was one."""
        interrupted = False
        while True:
            try:
                self.pump(lambda: False, output)
                self.process.wait()
                return interrupted
            except KeyboardInterrupt:
                interrupted = True
                self.signal(signal.SIGINT)

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def close(self) -> None:
        """Lets go of what is left of it. Call it once it has ended."""
        self._errors.finish()
        self.display.close()
        with contextlib.suppress(OSError):
            os.close(self._master)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def failure(self) -> PotluckError:
        """Why it ended as it did."""
        code = self.process.returncode
        told = [sentence for sentence in map(said, self.lines) if sentence is not None]
        refused = loader_sentence("\n".join(self.lines))
        if refused is not None:
            return PotluckError(refused, code)
        if told:
            return PotluckError(told[-1], code)
        if code < 0:
            return PotluckError(f"the program was ended by signal {-code} ({signal.strsignal(-code)})", code)
        last = f": {self.lines[-1]}" if self.lines else ""
        return PotluckError(f"the program ended with code {code}{last}", code)

    def _line(self, line: str) -> None:
        self.lines = [*self.lines, line][-_MOST_KEPT:]
        self.display.line(line)


def run_json(args: Sequence[str], display: Display, secret: Secret) -> Dict[str, Any]:
    """The JSON object that the program writes. KeyboardInterrupt once it has left after one."""
    output = bytearray()
    with running([*args, "--json"], display, secret) as command:
        interrupted = command.wait(output.extend)
    if interrupted:
        raise KeyboardInterrupt
    if command.process.returncode != 0:
        raise command.failure()
    try:
        result = json.loads(output)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        raise PotluckError(f"the program wrote no JSON object: {bytes(output[:200])!r}", 0)
    return result


@contextlib.contextmanager
def running(args: Sequence[str], display: Display, secret: Secret = Secret()) -> Iterator[Running]:
    """A program that is ended, hard if need be, when the block is left."""
    command = Running(args, display, secret)
    try:
        yield command
    finally:
        stop(command)


def stop(command: Running, patience: float = 10.0) -> None:
    """Asks it to leave, waits for `patience` seconds and then ends it. Nothing to do if it has ended."""
    command.signal(signal.SIGTERM)
    deadline = time.monotonic() + patience
    command.pump(lambda: time.monotonic() > deadline, lambda data: None)
    if command.process.poll() is None:
        command.process.kill()
        command.process.wait()
    command.close()


class _Lines:
    """Cuts a stream into lines; what a carriage return or an escape sequence wrote over counts as one."""

    def __init__(self, line: Callable[[str], None]):
        self._line = line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> None:
        text = (self._rest + self._decoder.decode(data)).replace("\r", "\n").replace("\x1b[K", "\n")
        *lines, self._rest = text.split("\n")
        for line in filter(None, lines):
            self._line(line)

    def finish(self) -> None:
        self.feed(b"\n")


def _start(command: Sequence[str], errors: int, secret: Secret) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **secret.environment, OWNER: str(os.getpid())}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
            bufsize=0,
        )

    try:
        process = _starter.submit(start).result()
    except OSError as error:
        raise PotluckError(f"{command[0]} cannot be started: {error.strerror}") from None
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # It ended without reading: its own sentence says why.
        process.stdin.write(secret.stdin.encode())
    process.stdin.close()
    return process


def _read(descriptor: int) -> Optional[bytes]:
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return None
    except OSError:  # A pseudo-terminal's end: nobody has its other side open.
        return b""
