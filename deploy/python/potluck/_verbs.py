"""The program's commands as functions. Thread-safe."""

from __future__ import annotations

import os
from typing import Optional, Union

from ._coordinator import Where, client_flag, worker_secret
from ._display import Display, Progress, display_for
from ._process import Option, arguments, positional, run_json, running
from ._results import NQueensResult, TrainResult

_INTERRUPTED = 130


def version() -> str:
    """The program's version."""
    output = bytearray()
    with running(["--version"], Display()) as command:
        command.wait(output.extend)
    if command.process.returncode != 0:
        raise command.failure()
    return output.decode("utf-8", "replace").strip().rpartition(" ")[2]


def join(
    join: Where = None,
    *,
    name: Optional[str] = None,
    threads: Optional[int] = None,
    device: Optional[str] = None,
    exit_when_idle: Optional[int] = None,
    progress: Progress = True,
    **options: Option,
) -> None:
    """Works for a coordinator until it is interrupted, sent home or idle for `exit_when_idle` seconds.

    `join` is a join string, a file that holds one or what serve() returned; None takes the environment's POTLUCK_JOIN.
    An interrupt lets it finish what it computes; a second one stops it at once (KeyboardInterrupt). Further options are
    the flags of `potluck join`: ends_in="4h", when_idle=True, confirm_platform_rules=True.
    """
    flags = {"name": name, "threads": threads, "device": device, "exit_when_idle": exit_when_idle, **options}
    with running(["join", *arguments(flags)], display_for(progress), worker_secret(join)) as command:
        interrupted = command.wait(lambda data: None)
    if interrupted and command.process.returncode == _INTERRUPTED:
        raise KeyboardInterrupt
    if command.process.returncode != 0:
        raise command.failure()


def nqueens(
    n: int,
    *,
    coordinator: Where = None,
    algorithm: Optional[str] = None,
    local_workers: Optional[int] = None,
    verify: Optional[float] = None,
    progress: Progress = True,
    **options: Option,
) -> NQueensResult:
    """Counts the ways to place n queens so that none attacks another.

    `coordinator` is a join string, a file that holds one or what serve() returned; None takes the environment's
    POTLUCK_COORDINATOR. Without that, and with `local_workers`, everything runs on this machine, in so many processes.
    `algorithm` is "mitm" or "backtracking", which counts nodes too; None takes the faster one. `verify` is the share of
    the results that a second worker computes again. Further options are the flags of `potluck nqueens`: nodes=True,
    certificate="18.jsonl.gz", threads=2.
    """
    where, secret = client_flag(coordinator)
    flags = {"coordinator": where, "algorithm": algorithm, "local_workers": local_workers, "verify": verify, **options}
    args = ["nqueens", positional("n", str(n)), *arguments(flags)]
    return NQueensResult.from_json(run_json(args, display_for(progress), secret))


def train(
    model: Union[str, "os.PathLike[str]"] = "mnist-cnn",
    data: Union[None, str, "os.PathLike[str]"] = None,
    *,
    coordinator: Where = None,
    local_workers: Optional[int] = None,
    epochs: Optional[int] = None,
    output: Union[None, str, "os.PathLike[str]"] = None,
    progress: Progress = True,
    **options: Option,
) -> TrainResult:
    """Trains a convolutional network.

    `model` is a preset or a file with a ModelSpec, `data` a folder with images; the model, its metrics and a record of
    the run are written into the folder `output`. `coordinator` and workers as for nqueens(). Further options are the
    flags of `potluck train`: batch=64, lr=0.5, local_steps=16, compress="int4", overwrite=True.
    """
    where, secret = client_flag(coordinator)
    flags = {
        "coordinator": where,
        "data": data,
        "out": output,
        "epochs": epochs,
        "local_workers": local_workers,
        **options,
    }
    args = ["train", positional("model", model), *arguments(flags)]
    return TrainResult.from_json(run_json(args, display_for(progress), secret))
