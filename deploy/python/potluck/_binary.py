"""Where the program is, and whether this machine can run it.

The program lies in the package's folder bin/, where a wheel puts it; in a checkout the environment's POTLUCK_BINARY
names one. Nothing here starts it. Thread-safe.
"""

from __future__ import annotations

import os
import platform
import re
import stat
from pathlib import Path
from typing import Optional, Tuple

# What the wheel's name promises (manylinux_2_35), and what its programs are linked against.
OLDEST_GLIBC = (2, 35)
VARIABLE = "POTLUCK_BINARY"

_PACKAGED = Path(__file__).resolve().parent / "bin" / "potluck"
_REMEDY = "build Potluck from its sources there, or use a newer system: Ubuntu 22.04, Debian 12 or later"


class PotluckError(Exception):
    """What went wrong, as one sentence. `code` is the program's exit code; None if it did not run."""

    def __init__(self, sentence: str, code: Optional[int] = None):
        super().__init__(sentence)
        self.code = code


def packaged() -> Optional[Path]:
    """The program that came with this package, if one did."""
    return _PACKAGED if _PACKAGED.is_file() else None


def program() -> str:
    """The path of the program. PotluckError if there is none that can be run."""
    path = packaged()
    if path is None:
        named = os.environ.get(VARIABLE, "")
        if not named:
            raise PotluckError(
                f"there is no program at {_PACKAGED}; install Potluck's wheel, which has one, or let the environment's "
                f"{VARIABLE} name one that you have built"
            )
        path = Path(named)
        if not path.is_file():
            raise PotluckError(
                f"{VARIABLE} is {named}, where there is no file; allowed is the path of a program potluck"
            )
    if not os.access(path, os.X_OK):
        _make_executable(path)
    return str(path.absolute())


def check_machine() -> None:
    """PotluckError if the program of this package cannot run here. Of another one nothing is known."""
    if packaged() is None:
        return
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in ("x86_64", "AMD64"):
        hint = "; on Windows use WSL2" if system == "Windows" else ""
        raise PotluckError(
            f"this package has a program for Linux on x86_64, and this machine is {system} on {machine}{hint}"
        )
    version = _glibc()
    if version is None:
        raise PotluckError(
            f"this package's program needs the GNU C library {_text(OLDEST_GLIBC)} or later, and this system has "
            f"another C library; {_REMEDY}"
        )
    if version < OLDEST_GLIBC:
        raise PotluckError(_too_old(_text(version)))


def loader_sentence(output: str) -> Optional[str]:
    """The sentence for what the dynamic loader wrote when it refused the program; None if it did not."""
    if re.search(r"version [`'\"]GLIBC_[0-9.]+' not found", output) is None:
        missing = re.search(r"error while loading shared libraries: (\S+):", output)
        if missing is None:
            return None
        return f"the program cannot be started: the library {missing.group(1)} is missing on this system; {_REMEDY}"
    version = _glibc()
    return _too_old("an older one" if version is None else _text(version))


def _too_old(found: str) -> str:
    return f"this package's program needs glibc {_text(OLDEST_GLIBC)} or later, and this system has {found}; {_REMEDY}"


def _text(version: Tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def _glibc() -> Optional[Tuple[int, int]]:
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return None
    found = re.match(r"glibc (\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else None


# Some installers, and everyone who unpacks a wheel by hand, lose the mode.
def _make_executable(path: Path) -> None:
    try:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as error:
        raise PotluckError(f"{path} is not executable, and cannot be made so: {error.strerror}") from None
