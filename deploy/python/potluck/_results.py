"""What the program's JSON says, as values with types. Immutable, so thread-safe. Fields that this version does not know
are left out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Mapping, Optional, Tuple, Type, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Contribution:
    """What one worker did of a counting job."""

    worker: str
    slices: int
    cost: float
    percent: float
    busy_seconds: float


@dataclass(frozen=True)
class NQueensResult:
    """The count of one board. `nodes` and what belongs to it are None where the algorithm visits none."""

    n: int
    algorithm: str
    solutions: int
    seconds: float
    workers: int
    job: int
    checksum: int
    solutions_per_second: float
    nodes: Optional[int] = None
    visited: Optional[int] = None
    nodes_per_second: Optional[float] = None
    verified: Optional[bool] = None  # Whether it is the published total; None: none is published.
    unique: Optional[int] = None  # Solutions up to symmetry.
    disagreements: int = 0
    verify: float = 0
    verified_share: float = 0
    verified_slices: int = 0
    contributions: Tuple[Contribution, ...] = ()

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> NQueensResult:
        values = dict(json)
        for name in ("solutions", "nodes", "visited", "checksum", "unique"):  # Decimal texts: they outgrow a double.
            if values.get(name) is not None:
                values[name] = int(values[name])
        values["contributions"] = tuple(_make(Contribution, each) for each in values.get("contributions", ()))
        return _make(cls, values)


@dataclass(frozen=True)
class Epoch:
    """One evaluation of a training."""

    epoch: int
    step: int
    train_loss: Optional[float]
    train_accuracy: Optional[float]
    test_loss: Optional[float]
    test_accuracy: Optional[float]
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class WorkerShare:
    """What one worker did of a training."""

    worker: str
    slices: int
    images: float
    percent: float
    busy_seconds: float
    bytes_sent: int
    bytes_received: int
    numerics_class: str


@dataclass(frozen=True)
class TrainResult:
    """A trained network; accuracies and losses are the last evaluation's, None where there was none."""

    model: str
    parameters: int
    method: str
    test_accuracy: Optional[float]
    test_loss: Optional[float]
    train_accuracy: Optional[float]
    train_loss: Optional[float]
    epochs: int
    steps: int
    images: int
    stopped_by: str
    seconds: float
    images_per_second: float
    bytes_sent: int
    bytes_received: int
    workers: int
    job: int
    message: str = ""
    history: Tuple[Epoch, ...] = ()
    contributions: Tuple[WorkerShare, ...] = ()
    model_sha256: str = ""
    files: Tuple[str, ...] = ()  # Model, metrics and the record of the run, in the output folder.

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> TrainResult:
        values = dict(json)
        values["history"] = tuple(_make(Epoch, each) for each in values.get("history", ()))
        values["contributions"] = tuple(_make(WorkerShare, each) for each in values.get("contributions", ()))
        values["files"] = tuple(values.get("files", ()))
        return _make(cls, values)


def _make(kind: Type[_T], json: Mapping[str, Any]) -> _T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in json.items() if name in known})
