"""Potluck from Python: everyone brings a GPU to the table.

    import potluck

    potluck.nqueens(16, local_workers=2).solutions          # on this machine

    with potluck.serve(listen="0.0.0.0:4242", public="my.host.example:4242") as table:
        table.join_string                                    # a secret: all that a worker needs
        potluck.nqueens(18, coordinator=table)               # whoever has joined computes

    potluck.join("worker.join")                              # this machine works until it is interrupted

Every function runs the program `potluck` and reads its JSON; the program has the only copy of everything that
matters. What fails raises PotluckError with the program's one sentence. An interrupt (Ctrl-C, a notebook's stop button)
is handed on to the program, and the call returns when that has left cleanly. Join strings are secrets: they are handed
to the program by its environment or its standard input, never as arguments.
"""

from __future__ import annotations

import os
import sys

from ._binary import PotluckError, check_machine, program
from ._coordinator import Coordinator, serve
from ._results import Contribution, Epoch, NQueensResult, TrainResult, WorkerShare
from ._verbs import join, nqueens, train, version

__all__ = [
    "Contribution",
    "Coordinator",
    "Epoch",
    "NQueensResult",
    "PotluckError",
    "TrainResult",
    "WorkerShare",
    "join",
    "nqueens",
    "program",
    "serve",
    "train",
    "version",
]

# A machine on which the program cannot run is told so here and now, and not by the dynamic loader later; who called the
# console script by one line, without Python's traceback.
try:
    check_machine()
except PotluckError as error:
    if sys.argv and os.path.basename(sys.argv[0]) == "potluck":
        sys.exit(f"potluck: {error}")
    raise ImportError(str(error)) from None


def __getattr__(name: str) -> str:
    if name == "__version__":
        return version()
    raise AttributeError(f"module 'potluck' has no attribute '{name}'")
