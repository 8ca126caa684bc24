"""What requests may hold, checked while they are read; an unknown key is refused."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations when the program runs
from typing import Any

from msgspec import Struct

__all__ = ["InferBody", "OutputName", "PredictBody", "PromoteBody", "RollbackBody", "TensorBody"]


class PredictBody(Struct, forbid_unknown_fields=True):
    """Rows to predict from: either records or columns.

    Each has ``unique_id``, ``ds`` (RFC 3339 or seconds since 1970 UTC) and the model's values.
    """

    rows: list[dict[str, Any]] | None = None
    columns: dict[str, list[Any]] | None = None


class PromoteBody(Struct, forbid_unknown_fields=True):
    """The version that shall serve, and who says so."""

    version: int
    by: str = "api"


class RollbackBody(Struct, forbid_unknown_fields=True):
    """An earlier champion to go back to (the one before when not given), and who says so."""

    to: int | None = None
    by: str = "api"


class RetrainBody(Struct, forbid_unknown_fields=True):
    """Why, as of which time (from all rows when left out), and how urgent: the highest of those that wait goes first."""

    reason: str = "asked over HTTP"
    until: datetime | None = None
    priority: int = 10


class CancelBody(Struct, forbid_unknown_fields=True):
    """Who stops the run."""

    by: str = "api"


class TensorBody(Struct):
    """A tensor of the Open Inference Protocol; `data` is flat or nested, in row-major order."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class OutputName(Struct):
    """An output that is asked for."""

    name: str


class InferBody(Struct):
    """A request of the Open Inference Protocol."""

    inputs: list[TensorBody]
    id: str | None = None
    outputs: list[OutputName] | None = None
