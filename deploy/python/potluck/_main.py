"""The console script `potluck`: becomes the program."""

from __future__ import annotations

import os
import sys
from typing import List, NoReturn, Sequence

from . import _bundle
from ._binary import PotluckError, program


def main() -> NoReturn:
    try:
        path = program()
        command = [path, *_with_bundle(sys.argv[1:])]
    except PotluckError as error:
        sys.exit(f"potluck: {error}")
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(path, command)
    except OSError as error:
        sys.exit(f"potluck: {path} cannot be started: {error.strerror}")


# A coordinator is told where the bundle for its workers lies: the program does not know that it was installed by pip.
def _with_bundle(args: Sequence[str]) -> List[str]:
    if not args or args[0] != "serve" or any(arg in ("-h", "--help") or arg.startswith("--bundle") for arg in args):
        return list(args)
    found = _bundle.folder()
    return list(args) if found is None else [*args, f"--bundle={found}"]


if __name__ == "__main__":
    main()
