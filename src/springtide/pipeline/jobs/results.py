"""What a task says of itself, believed only as far as our trainers would say it: a script can write these files too."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from springtide.domain.errors import ModelRefused
from springtide.sandbox.collecting import collect
from springtide.sdk import Refusal
from springtide.trainers.formats import FORMATS, recognise

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Mode", "read_error", "read_result"]

MOST = 100_000  # bytes of result.json and error.json
LONGEST = 2000  # letters of what an error says that are kept

Mode = Literal["train", "predict", "convert"]
Shape = TypeVar("Shape")
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Seconds = Annotated[float, Meta(ge=0)]
Name = Annotated[str, Meta(max_length=50)]
Classes = Annotated[list[Annotated[str, Meta(max_length=1000)]], Meta(max_length=1000)]


class _Trained(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the mode ``train``; what is unset a script's training does not tell."""

    model: Name
    format: Name
    framework: Name
    start: Literal["given", "scratch"]
    predicted_by: Literal["springtide", "script"]
    classes: Classes
    rows: Count
    seconds_in_all: Seconds
    validation_rows: Count | UnsetType = UNSET
    epochs: Count | UnsetType = UNSET
    best_epoch: Count | UnsetType = UNSET
    start_loss: float | UnsetType | None = UNSET
    loss: float | UnsetType = UNSET
    stopped: Literal["no better", "budget", "epochs"] | UnsetType = UNSET
    seconds: Seconds | UnsetType = UNSET


class _Predicted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the mode ``predict``."""

    predictions: Literal["predictions.npz"]
    rows: Count
    classes: Classes
    format: Name
    seconds_in_all: Seconds


class _Converted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the mode ``convert``."""

    model: Literal["model.onnx"]
    output: Literal["mean", "probabilities", "logits"]
    parity: Annotated[float, Meta(ge=0)]
    tolerance: Annotated[float, Meta(ge=0, le=1)]
    checked_rows: Count
    width: Count
    seconds_in_all: Seconds


class _Error(msgspec.Struct, frozen=True):
    """Of every mode."""

    what: str
    where: str
    do: str


RESULTS: dict[Mode, type[_Trained | _Predicted | _Converted]] = {
    "train": _Trained,
    "predict": _Predicted,
    "convert": _Converted,
}


def read_result(work: Path, folder: str, mode: Mode, *, by_script: bool) -> dict[str, Any]:
    """What the task in a folder of `work` came to; `by_script` where the client's own script was part of it.

    Raises
    ------
    ModelRefused
        If it is not what our trainer would have said.
    """
    name = f"{folder}/result.json"
    told = _read(work, name, mode, RESULTS[mode])
    if isinstance(told, _Trained):
        wrong = _wrong_with(told, by_script=by_script)
        if wrong is None and by_script:
            wrong = _wrong_file(work, f"{folder}/{told.model}", told.format)
        if wrong is not None:
            raise _refused(name, wrong, mode)
    plain: dict[str, Any] = msgspec.to_builtins(told)
    return plain


def read_error(work: Path, folder: str, mode: Mode) -> dict[str, str]:
    """Why the task in a folder of `work` failed: ``what``, ``where`` and ``do``.

    Raises
    ------
    ModelRefused
        If it is not what our trainer would have said.
    """
    error = _read(work, f"{folder}/error.json", mode, _Error)
    return {"what": error.what[:LONGEST], "where": error.where[:LONGEST], "do": error.do[:LONGEST]}


def _read(work: Path, name: str, mode: Mode, shape: type[Shape]) -> Shape:
    text = collect(work, [name], MOST)[name].read_bytes()
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refused(name, str(error), mode) from error


def _wrong_with(told: _Trained, *, by_script: bool) -> str | None:
    """What cannot be, by what we know of formats and of the task."""
    form = FORMATS.get(told.format)
    if form is None or (form.name == "bundle" and told.predicted_by == "springtide"):
        return f"there is no format {told.format!r}"
    if told.framework != form.framework or told.model != f"model{form.suffix}":
        return f"{told.model!r} of {told.framework!r} is no file in the format {form.name}"
    if told.predicted_by == "script" and not by_script:
        return "there is no script that could predict"
    return None


def _wrong_file(work: Path, name: str, form: str) -> str | None:
    """Whether a file is in another format than was said; its size is nobody's business yet."""
    try:
        found = recognise(collect(work, [name], sys.maxsize)[name]).name
    except Refusal as refusal:
        return refusal.what
    return None if found == form else f"{name} is in the format {found}, not {form}"


def _refused(name: str, why: str, mode: Mode) -> ModelRefused:
    return ModelRefused(
        f"{name} is not what the trainer writes: {why[:300]}",
        where=f"the sandbox, {mode}",
        do="do not write it yourself",
    )
