"""Blobs: originals, analyses and thumbnails, named by what they are. The truth, beside the ledger.

```
original/ab/abcd…                                 the bytes a creator handed in, by their SHA-256
thumbnail/12/1234….jpg                            a JPEG, by its own SHA-256
analysis/<space>/ab/abcd….safetensors             what those bytes say in one space
```

A blob is there whole or not at all, and once it is said to be there it survives a power cut: written beside its place,
fsynced, renamed, and the folder fsynced. Any fsspec URL (`s3://bucket/prefix`) serves as well as a folder; object
stores keep those promises by themselves.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file (btrfs, XFS, bcachefs)
_CHUNK_BYTES = 1 << 20
ARRIVING = ".arriving-"
"""Prefix of a file that has not taken its place yet; a kill leaves it behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A blob as it lies there."""

    key: str
    size: int
    mtime_s: float
    """When it was written, seconds since 1970."""

    @property
    def name(self) -> str:
        """The digest that it is named by; for what is still arriving, whatever it is called."""
        return self.key.rpartition("/")[2].partition(".")[0] if not self.arriving else self.key.rpartition("/")[2]

    @property
    def arriving(self) -> bool:
        return self.key.rpartition("/")[2].startswith(ARRIVING)


class Blobs:
    """A content-addressed store in a folder or under an fsspec URL."""

    def __init__(self, url: str) -> None:
        self._folder = None if "://" in url else Path(url)
        self._remote: Any = None
        if self._folder is None:
            self._remote, self._prefix = fsspec.core.url_to_fs(url)

    def has(self, key: str) -> bool:
        if self._folder is not None:
            return (self._folder / key).is_file()
        return bool(self._remote.exists(f"{self._prefix}/{key}"))

    def get(self, key: str) -> bytes:
        """Read a blob.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        if self._folder is not None:
            return (self._folder / key).read_bytes()
        return bytes(self._remote.cat_file(f"{self._prefix}/{key}"))

    def put(self, key: str, data: bytes) -> None:
        """Write a blob; one that is there already is replaced as a whole."""
        if self._folder is None:
            self._remote.pipe_file(f"{self._prefix}/{key}", data)
            return
        with _arriving(self._folder / key) as file:
            file.write(data)

    def put_original(self, source: BinaryIO) -> str:
        """Copy an open file in, sharing its blocks where the disk can, and return its SHA-256.

        The digest is taken of the copy: a file that changes while it is read is stored as what was read.
        """
        if self._folder is None:
            return self._send_original(source)
        with _arriving(self._folder / "original" / "incoming", place=False) as copy:
            digest = _clone(source, copy) or _copy(source, copy)
            _place(copy, self._folder / original_key(digest))  # over one of the same name: it may be damaged
        return digest

    def _send_original(self, source: BinaryIO) -> str:
        with tempfile.TemporaryFile() as copy:
            digest = _copy(source, copy)
            if not self.has(original_key(digest)):
                copy.seek(0)
                with self._remote.open(f"{self._prefix}/{original_key(digest)}", "wb") as target:
                    shutil.copyfileobj(copy, target, _CHUNK_BYTES)
        return digest

    def stored(self, kind: str) -> Iterator[Stored]:
        """Everything under `original`, `thumbnail` or `analysis/<space>`, in no promised order, leftovers included."""
        if self._folder is not None:
            yield from _walk(self._folder / kind, kind)
            return
        if not self._remote.exists(f"{self._prefix}/{kind}"):
            return
        for path, facts in self._remote.find(f"{self._prefix}/{kind}", detail=True).items():
            key = path.removeprefix("/").removeprefix(self._prefix.removeprefix("/")).removeprefix("/")
            yield Stored(key=key, size=int(facts["size"] or 0), mtime_s=written_s(facts))

    def spaces(self) -> list[str]:
        """The ids of the spaces that have analyses here."""
        if self._folder is not None:
            folder = self._folder / "analysis"
            return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        folders = f"{self._prefix}/analysis"
        if not self._remote.exists(folders):
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in self._remote.ls(folders, detail=False))

    def sha256(self, key: str) -> str:
        """The digest of a blob as it reads now, a piece at a time.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        with self.local_copy(key) as path, path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def delete(self, key: str) -> None:
        """Take a blob away; one that is gone already is no error."""
        if self._folder is not None:
            (self._folder / key).unlink(missing_ok=True)
        elif self._remote.exists(f"{self._prefix}/{key}"):
            self._remote.rm_file(f"{self._prefix}/{key}")

    def set_aside(self, key: str, under: str) -> None:
        """Move a blob to `quarantine/<under>/<key>`, where nothing looks for it; one that is gone is no error."""
        aside = f"quarantine/{under}/{key}"
        if self._folder is None:
            if self._remote.exists(f"{self._prefix}/{key}"):
                self._remote.mv(f"{self._prefix}/{key}", f"{self._prefix}/{aside}")
        elif (self._folder / key).exists():
            (self._folder / aside).parent.mkdir(parents=True, exist_ok=True)
            os.rename(self._folder / key, self._folder / aside)

    def path_of(self, key: str) -> Path | None:
        """Where a blob lies as a file; None where it has to be fetched first (`local_copy`)."""
        return None if self._folder is None else self._folder / key

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """Give a blob as a file for as long as the block lasts.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        if self._folder is not None:
            yield self._folder / key
            return
        with tempfile.NamedTemporaryFile(prefix="firstlook-") as file:
            with self._remote.open(f"{self._prefix}/{key}", "rb") as source:
                shutil.copyfileobj(source, file, _CHUNK_BYTES)
            file.flush()
            yield Path(file.name)


def original_key(content_sha256: str) -> str:
    return f"original/{content_sha256[:2]}/{content_sha256}"


def thumbnail_key(thumbnail_sha256: str) -> str:
    return f"thumbnail/{thumbnail_sha256[:2]}/{thumbnail_sha256}.jpg"


def analysis_key(content_sha256: str, space_id: str) -> str:
    return f"analysis/{space_id}/{content_sha256[:2]}/{content_sha256}.safetensors"


def _walk(folder: Path, key: str) -> Iterator[Stored]:
    try:
        entries = list(os.scandir(folder))  # a folder holds a 256th of them
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{key}/{entry.name}")
            continue
        try:
            facts = entry.stat()
        except FileNotFoundError:  # it has taken its place, or was deleted, since the folder was read
            continue
        yield Stored(key=f"{key}/{entry.name}", size=facts.st_size, mtime_s=facts.st_mtime)


def written_s(facts: dict[str, Any]) -> float:
    """When an object was written; each kind of store calls it otherwise, and one that does not say counts as old."""
    for name in ("mtime", "LastModified", "last_modified", "created"):
        value = facts.get(name)
        if value is not None:
            return value.timestamp() if isinstance(value, datetime) else float(value)
    return 0.0


@contextmanager
def _arriving(target: Path, *, place: bool = True) -> Iterator[Any]:
    """Open a file beside `target` that takes its place when the block ends well, and vanishes when it does not."""
    _make_folder(target.parent)
    file = tempfile.NamedTemporaryFile("w+b", dir=target.parent, prefix=ARRIVING, delete=False)  # noqa: SIM115
    try:
        with file:
            yield file
            if place:
                _place(file, target)
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename:
            raise
        raise OSError(errno.ENOSPC, "No space left on device for blobs", str(target.parent)) from error
    finally:
        Path(file.name).unlink(missing_ok=True)


def _place(file: Any, target: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    _make_folder(target.parent)
    os.rename(file.name, target)
    _sync_folder(target.parent)


def _make_folder(folder: Path) -> None:
    """Like `mkdir -p`, but a folder that was made stays made after a power cut."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clone(source: Any, copy: Any) -> str | None:
    """Share the blocks of `source` and return the SHA-256; None where the file system cannot."""
    try:
        fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM):
            return None
        raise
    copy.seek(0)
    return hashlib.file_digest(copy, "sha256").hexdigest()


def _copy(source: Any, copy: Any) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        copy.write(chunk)
    return digest.hexdigest()
