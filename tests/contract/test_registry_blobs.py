"""One contract for a folder and an S3 bucket: bytes named by their own SHA-256."""

from __future__ import annotations

import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import obstore
import pytest
from obstore.store import S3Store

from springtide.domain.errors import ModelRefused, NotFound, SettingsError, StoreFailed
from springtide.registry.blobs import Blobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = b"weights" * 1000
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
KEY = f"{DIGEST[:2]}/{DIGEST}"


@pytest.fixture(scope="module")
def s3(s3_server: str) -> str:
    """The address of a real S3 server on loopback with the bucket ``models``."""
    return s3_server


def options(url: str) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "t0p-secret", "AWS_REGION": "us-east-1"}
    return {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", **keys}


@pytest.fixture(params=["folder", "s3"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Blobs, Callable[[bytes], object]]:
    """A store, and a way to write behind its back what lies under the key of the weights."""
    if request.param == "folder":
        return Blobs(str(tmp_path / "models")), (tmp_path / "models" / KEY).write_bytes
    url, server = f"s3://models/{tmp_path.name}", str(request.getfixturevalue("s3"))
    signed = {"endpoint": server, "access_key_id": "key", "secret_access_key": "t0p-secret", "region": "us-east-1"}
    other_program = S3Store.from_url(url, config=signed, client_options={"allow_http": True})
    return Blobs(url, options(server)), lambda data: obstore.put(other_program, KEY, data)


@pytest.fixture
def blobs(stored: tuple[Blobs, Callable[[bytes], object]]) -> Blobs:
    return stored[0]


def test_bytes_are_named_by_their_sha256_and_come_back_equal(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(WEIGHTS)
    assert blobs.put_file(tmp_path / "model.onnx") == blobs.put(WEIGHTS) == DIGEST
    assert blobs.get(DIGEST) == WEIGHTS
    assert blobs.has(DIGEST)
    assert blobs.names() == {DIGEST}


def test_no_bytes_at_all_are_bytes_too(blobs: Blobs) -> None:
    assert blobs.get(blobs.put(b"")) == b""


def test_deleted_bytes_are_gone_and_deleting_them_again_is_no_error(blobs: Blobs) -> None:
    blobs.put(WEIGHTS)
    for _ in range(2):
        blobs.delete(DIGEST)
    assert not blobs.has(DIGEST)
    assert blobs.names() == set()
    with pytest.raises(NotFound, match=r"probe\.npz of btc@3 is missing"):
        blobs.get(DIGEST, of="probe.npz of btc@3")


@pytest.mark.parametrize("damage", [b"W" + WEIGHTS[1:], WEIGHTS[:-1], b""])
def test_damaged_bytes_are_refused_by_name_and_healed_when_they_are_put_again(
    stored: tuple[Blobs, Callable[[bytes], object]], damage: bytes
) -> None:
    blobs, overwrite = stored
    blobs.put(WEIGHTS)
    overwrite(damage)
    with pytest.raises(ModelRefused, match=r"model\.onnx of btc@3 is damaged") as refused:
        blobs.get(DIGEST, of="model.onnx of btc@3")
    assert KEY in refused.value.where
    assert "roll back" in refused.value.do
    blobs.put(WEIGHTS)
    assert blobs.get(DIGEST) == WEIGHTS


def test_many_writers_of_the_same_bytes_agree(blobs: Blobs) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(blobs.put, [WEIGHTS] * 16)) == {DIGEST}
    assert blobs.get(DIGEST) == WEIGHTS


def test_what_a_killed_writer_left_beside_is_not_listed(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    blobs.put(WEIGHTS)
    (tmp_path / f"{KEY}#1").write_bytes(b"half")
    assert blobs.names() == {DIGEST}


def test_a_file_that_cannot_be_read_is_named(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match=r"model\.onnx cannot be read: No such file"):
        blobs.put_file(tmp_path / "model.onnx")


def test_a_full_disk_is_an_error_that_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        blobs = Blobs(str(tmp_path / "models"))
        with pytest.raises(StoreFailed, match="No space left on device"):
            blobs.put(b"x" * 200_000)
        assert blobs.names() == set()
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_store_that_is_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(StoreFailed, match="folder of the model files cannot be made"):
        Blobs(str(tmp_path / "models"))


def test_a_bucket_that_does_not_exist_is_a_failure_that_shows_no_secret(s3: str) -> None:
    blobs = Blobs("s3://nowhere/x", options(s3))
    with pytest.raises(StoreFailed, match="s3://nowhere/x") as failed:
        blobs.put(WEIGHTS)
    assert "t0p-secret" not in str(failed.value) + repr(failed.value) + repr(blobs)


def test_a_store_of_an_unknown_kind_or_with_an_unknown_option_is_refused(s3: str) -> None:
    with pytest.raises(SettingsError, match="'ftp' is not a store"):
        Blobs("ftp://host/models")
    with pytest.raises(SettingsError, match="'bogus' is not valid"):
        Blobs("s3://models", {**options(s3), "bogus": "1"})
    with pytest.raises(SettingsError, match="'s3://' is not a store"):
        Blobs("s3://")
