"""The format of a model file is told by its bytes, and nothing in it runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest

from springtide.sdk import Refusal
from springtide.trainers.formats import recognise


def zip_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return path


@pytest.mark.parametrize(
    ("data", "name", "form"),
    [
        (b"\x89HDF\r\n\x1a\n....", "m", "h5"),
        (b"tree\nversion=v4\nnum_class=1", "m", "lightgbm"),
        (b"tree\r\nversion=v4", "m.csv", "lightgbm"),
        (b'{"learner":{}, "version":[3,2,0]}', "m", "xgboost"),
        (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{", "m", "xgboost-binary"),
        (b"\x80\x04K\x01.", "m", "joblib"),
        (b"x\x9cK\x04", "m.joblib", "joblib"),
        (b"\x08\x08\x12\x07pytorch", "m", "onnx"),
    ],
)
def test_the_format_of_a_file_is_told_by_its_bytes(tmp_path: Path, data: bytes, name: str, form: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert recognise(tmp_path / name).name == form


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (("config.json", "metadata.json", "model.weights.h5"), "keras"),
        (("saved_model.pb", "variables/variables.index"), "savedmodel"),
        (("mine/saved_model.pb", "mine/variables/variables.index"), "savedmodel"),
        (("m/archive_format", "m/models/model.json"), "pt2"),
        (("m/data.pkl", "m/version"), "state-dict"),
        (("schema.json", "0.npy"), "skops"),
        (("preprocessing.json", "model.keras"), "bundle"),
    ],
)
def test_the_format_of_a_zip_is_told_by_the_names_in_it(tmp_path: Path, names: tuple[str, ...], form: str) -> None:
    assert recognise(zip_of(tmp_path / "given", *names)).name == form


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"{}", b"a,b\n1,2\n"])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(Refusal):
        recognise(tmp_path / "m")


def test_torchscript_is_refused_with_what_to_save_instead(tmp_path: Path) -> None:
    given = zip_of(tmp_path / "m.pt", "m/constants.pkl", "m/data.pkl", "m/code/__torch__.py")
    with pytest.raises(Refusal, match=r"torch\.export"):
        recognise(given)


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("opened",)


def test_a_hostile_pickle_is_recognised_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.joblib").write_bytes(pickle.dumps(Hostile()))
    form = recognise(Path("evil.joblib"))
    assert form.pickled
    assert not Path("opened").exists()


def test_a_link_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m").symlink_to("/etc/passwd")
    with pytest.raises(Refusal, match="no file"):
        recognise(tmp_path / "m")
