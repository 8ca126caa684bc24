"""A job: data, perhaps a model and a script, sent by somebody who wants the retrained model back."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read by what makes params of JSON
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["FRAMEWORKS", "Framework", "Job", "JobParams", "Question"]

Question = Literal["regression", "binary", "multiclass"]
Framework = Literal["tensorflow", "pytorch", "lightgbm", "xgboost", "scikit-learn"]
FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)


@dataclass(frozen=True, slots=True)
class JobParams:
    """What is asked of a job.

    `target` is the column to predict; `name` the model that the result becomes a version of (the job's own when None);
    `time` the column that orders the rows (the file's own order when None); `judge` the share of rows, the latest ones,
    that judge. `features` are all other columns when empty. `start` says from what a training without a given model
    begins: the version of that name that serves, or nothing. `params` are for the script and the trainer.
    """

    target: str
    name: str | None = None
    question: Question | None = None  # told from the target when None
    framework: Framework | None = None
    time: str | None = None
    features: tuple[str, ...] = ()
    budget_s: float = 60.0
    seed: int = 0
    judge: float = 0.2
    start: Literal["champion", "scratch"] = "champion"
    rule: Literal["better", "significant", "anytime"] = "significant"
    alpha: float = 0.05
    webhook: str | None = None
    deliver: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """What somebody sent; how far it has come its run says, which has the same id.

    `files` maps ``data``, ``model``, ``script`` and ``requirements`` to the names they were sent under.
    """

    id: str
    params: JobParams
    created: datetime
    files: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None  # of the sender: the same key is the same job
    digest: str = ""  # SHA-256 of all that was sent
