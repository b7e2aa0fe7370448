"""Blobs are whole or not there, and named by what they hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from index.blobs import Blobs, original_key


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "blobs") if request.param == "folder" else f"memory://{tmp_path.name}")


def test_an_original_is_found_by_the_digest_of_its_bytes(blobs: Blobs, tmp_path: Path) -> None:
    path = tmp_path / "cat.mp4"
    path.write_bytes(b"cat" * 1000)
    with path.open("rb") as file:
        digest = blobs.put_original(file)
    assert digest == hashlib.sha256(b"cat" * 1000).hexdigest()
    with blobs.local_copy(original_key(digest)) as copy:
        assert copy.read_bytes() == b"cat" * 1000
    assert path.exists(), "the creator's own file stays where it was"


def test_the_same_bytes_are_stored_once(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path / "blobs"))
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"same")
        with (tmp_path / name).open("rb") as file:
            digest = blobs.put_original(file)
    (kept,) = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    kept.write_bytes(b"damaged")
    with (tmp_path / "a").open("rb") as file:
        blobs.put_original(file)
    assert blobs.get(original_key(digest)) == b"same", "handing it in again heals it"


def test_what_was_put_is_what_is_got(blobs: Blobs) -> None:
    assert not blobs.has("thumbnail/ab/abcd.jpg")
    blobs.put("thumbnail/ab/abcd.jpg", b"one")
    blobs.put("thumbnail/ab/abcd.jpg", b"two")
    assert blobs.has("thumbnail/ab/abcd.jpg")
    assert blobs.get("thumbnail/ab/abcd.jpg") == b"two"


def test_a_missing_blob_says_so(blobs: Blobs) -> None:
    with pytest.raises(FileNotFoundError):
        blobs.get("thumbnail/ab/none.jpg")


def test_a_write_that_breaks_off_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    blobs = Blobs(str(tmp_path / "blobs"))
    blobs.put("analysis/s/ab/warm.safetensors", b"makes the folders")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        blobs.put("analysis/s/ab/abcd.safetensors", b"half")
    assert [path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == ["warm.safetensors"]
