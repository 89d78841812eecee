"""Shows how far the program is, in place: in a notebook's output, on a terminal's line, or as plain lines elsewhere.

A program's standard error has two kinds of lines: what starts with `potluck: ` is said and stays; every other line is
progress, which the next one replaces. Not thread-safe.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Callable, List, Optional, Union

# True: shown; False: not shown; a function is handed every line.
Progress = Union[bool, Callable[[str], None]]

_SAID = "potluck: "
_MOST_SAID = 12  # Lines that a notebook keeps in sight.
_PLAIN_INTERVAL = 5.0  # Seconds between two lines of progress where nothing can be written over.


def said(line: str) -> Optional[str]:
    """What a line says for good; None if it is progress."""
    return line[len(_SAID) :] if line.startswith(_SAID) else None


class Display:
    """Swallows everything. The base of those below."""

    def line(self, line: str) -> None:
        pass

    def close(self) -> None:
        """Takes progress away; what was said stays."""


class _Called(Display):
    def __init__(self, function: Callable[[str], None]):
        self._function = function

    def line(self, line: str) -> None:
        self._function(line)


class _Terminal(Display):
    def __init__(self) -> None:
        self._shown = False

    def line(self, line: str) -> None:
        stays = said(line) is not None
        sys.stderr.write(f"\r{line}\x1b[K" + ("\n" if stays else ""))
        sys.stderr.flush()
        self._shown = not stays

    def close(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._shown = False


class _Plain(Display):
    def __init__(self) -> None:
        self._last = time.monotonic() - 0.6 * _PLAIN_INTERVAL

    def line(self, line: str) -> None:
        now = time.monotonic()
        if said(line) is None:
            if now - self._last < _PLAIN_INTERVAL:
                return
            self._last = now
        print(line, file=sys.stderr, flush=True)


class _Notebook(Display):
    def __init__(self, show: Callable[..., Any]) -> None:
        self._show = show  # IPython.display.display
        self._handle: Any = None
        self._said: List[str] = []
        self._progress = ""

    def line(self, line: str) -> None:
        sentence = said(line)
        if sentence is None:
            self._progress = line
        else:
            self._said = [*self._said, sentence][-_MOST_SAID:]
        self._update()

    def close(self) -> None:
        if self._progress:
            self._progress = ""
            self._update()

    def _update(self) -> None:
        lines = [*self._said, self._progress] if self._progress else self._said
        bundle = {"text/plain": "\n".join(lines)}
        if self._handle is None:
            self._handle = self._show(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def _notebook_display() -> Optional[Callable[..., Any]]:
    if "IPython" not in sys.modules:  # Never imported for this: in a notebook it is there.
        return None
    from IPython import get_ipython  # type: ignore[import-not-found,unused-ignore]
    from IPython.display import display  # type: ignore[import-not-found,unused-ignore]

    shell = get_ipython()
    return display if shell is not None and hasattr(shell, "kernel") else None


def display_for(progress: Progress) -> Display:
    if callable(progress):
        return _Called(progress)
    if not progress:
        return Display()
    show = _notebook_display()
    if show is not None:
        return _Notebook(show)
    return _Terminal() if sys.stderr.isatty() else _Plain()
