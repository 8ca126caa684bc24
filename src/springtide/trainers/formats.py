"""Which format a model file has, by its content; no model is opened. Standard library only; the host uses it as well."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from springtide.sdk import Refusal
from springtide.trainers.archives import check_archive

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ENVIRONMENTS", "FORMATS", "PREPROCESSING", "Format", "recognise"]

PREPROCESSING = "preprocessing.json"  # beside the model in a bundle: what makes a table's rows the model's input

# The environment in which a framework is found.
ENVIRONMENTS: Mapping[str, str] = {
    "tensorflow": "tensorflow",
    "pytorch": "pytorch",
    "lightgbm": "boosting",
    "xgboost": "boosting",
    "scikit-learn": "boosting",
    "onnx": "pytorch",  # only to train it; every environment runs it
}


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of model file."""

    name: str
    framework: str
    suffix: str  # of the file that is given back
    pickled: bool = False  # opening it runs code of whoever wrote it
    acts: bool = False  # asking it runs what its author wrote: operators that read and write files

    @property
    def is_data(self) -> bool:
        """Whether neither opening nor asking it runs what others wrote; of what is in a bundle nothing is known yet."""
        return not (self.pickled or self.acts or self.name == "bundle")

    @property
    def environment(self) -> str:
        """Where it can be trained."""
        return ENVIRONMENTS[self.framework]


FORMATS: Mapping[str, Format] = {
    form.name: form
    for form in (
        Format("keras", "tensorflow", ".keras"),
        Format("h5", "tensorflow", ".h5"),
        Format("savedmodel", "tensorflow", ".zip", acts=True),
        Format("pt2", "pytorch", ".pt2", pickled=True),
        Format("state-dict", "pytorch", ".pt", pickled=True),
        Format("lightgbm", "lightgbm", ".txt"),
        Format("xgboost", "xgboost", ".json"),
        Format("xgboost-binary", "xgboost", ".ubj"),
        Format("skops", "scikit-learn", ".skops"),
        Format("joblib", "scikit-learn", ".joblib", pickled=True),
        Format("onnx", "onnx", ".onnx"),
        Format("bundle", "", ".zip"),
    )
}
_HEAD = 64 << 10
_PICKLED_NAMES = (".joblib", ".pkl", ".pickle")
_DO = (
    "send .keras, .h5, a zipped SavedModel, .pt2 of torch.export, a LightGBM text, an XGBoost JSON, .skops, .joblib, "
    f".onnx, or a zip with one of them and {PREPROCESSING}"
)


def recognise(path: Path) -> Format:
    """Tell the format of a model file from its bytes; the name decides only between things that look alike.

    A bundle is a zip with one model and its ``preprocessing.json``: what a training here gives back.

    Raises
    ------
    Refusal
        If it is no model that can be trained or judged here, or a zip that `check_archive` refuses.
    """
    if path.is_symlink() or not path.is_file():
        raise Refusal("the model is no file", where=path.name, do=_DO)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise Refusal("the model file is empty", where=path.name, do="send it again")
    if head[:2] == b"PK":
        return FORMATS[_zip_format(path)]
    name = _plain_format(head, path)
    if name is None:
        raise Refusal("the file is no model of a known format", where=path.name, do=_DO)
    return FORMATS[name]


def _plain_format(head: bytes, path: Path) -> str | None:
    """The format of what is no zip."""
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return "h5"
    if re.match(rb"tree\r?\nversion=", head):
        return "lightgbm"
    if head[:1] == b"{":
        return _learner_format(head)
    if head[:1] == b"\x80" or path.name.lower().endswith(_PICKLED_NAMES):
        return "joblib"
    if head[:1] == b"\x08":  # ONNX has no mark: the first field of its message is the version, a small number
        return "onnx"
    return None


def _learner_format(head: bytes) -> str | None:
    """XGBoost's two: both have a learner at the top."""
    if head[1:2] == b"L":  # Universal Binary JSON: a length comes before each name
        return "xgboost-binary" if b"learner" in head else None
    return "xgboost" if re.match(rb'\{\s*"learner"\s*:', head) else None


def _zip_format(path: Path) -> str:
    """The format of a zip, by the names in it."""
    names = check_archive(path)
    inner = {name.split("/", 1)[-1] for name in names} | set(names)  # torch puts all in one folder
    if "config.json" in inner and any(name.endswith(".weights.h5") for name in inner):
        return "keras"
    if "saved_model.pb" in inner:
        return "savedmodel"
    if "schema.json" in inner:
        return "skops"
    if PREPROCESSING in names:
        return "bundle"
    if "constants.pkl" in inner and any("code/" in name for name in names):
        raise Refusal(
            "the model is TorchScript, which is no longer trained", where=path.name, do="save it with torch.export"
        )
    if "archive_format" in inner or "serialized_exported_program.json" in inner:
        return "pt2"
    if "data.pkl" in inner:
        return "state-dict"
    raise Refusal("the zip holds no model of a known format", where=path.name, do=_DO)
