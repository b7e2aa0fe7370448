"""From what a user names to what there is to ingest: files, folders, patterns, manifests and sidecars.

Reads names, manifests and sidecars, never media bytes. Whatever is named comes out as a `Source` or as a `Failure`:
extensions lie, so every regular file of a folder is an upload, whatever it is called, and decoding decides what it is.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import hashlib
import json
import math
import os
import re
import reprlib
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from index.records import CATEGORIES, Failure, Upload
from ingest.uris import UnsupportedUri, local_name

SIDECAR_SUFFIXES = frozenset({".json", ".txt", ".srt", ".vtt"})
"""A file called so that stands beside another of the same name is about that one, and no upload of its own."""
SIDECAR_MAX_BYTES = 1 << 20
VIDEO_ID_MAX_CHARS = 200
_BATCH_ROWS = 1024
_COLUMNS = frozenset(
    {"uri", "video_id", "creator_id", "caption", "hashtags", "sound_id", "language", "uploaded_at", "visibility"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file that somebody asks us to ingest, with what was said about it."""

    path: Path
    """Absolute."""
    uri: str
    """The path as text; percent-encoded `file://` where the name is not UTF-8."""
    origin: str
    """Where it was named, for a person: "clips/a.mp4" or "manifest.csv, line 7"."""
    video_id: str | None = None
    """The caller's; None: derived from the content later."""
    creator_id: str | None = None
    caption: str = ""
    hashtags: tuple[str, ...] = ()
    """As given, else found in the caption: without `#`, case folded, NFC, in order, none twice."""
    sound_id: str | None = None
    language: str | None = None
    uploaded_at: datetime | None = None
    """Aware, UTC."""
    visibility: str = "public"
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further columns, kept as they came where JSON has a word for them, as text where not."""


def discover(paths: Sequence[str | Path], manifest: Path | None = None) -> Iterator[Source | Failure]:
    """Find everything that is named, manifest first, each file of `paths` once.

    A folder gives all its regular files, sorted, folders below it included; hidden ones and sidecars
    (`SIDECAR_SUFFIXES`) are left out, links to folders are not followed. A path that does not exist may be a pattern
    (`"clips/**/*.mp4"`) or a `file://` URI. A file that the manifest names too is not named again. `clip.mp4.json` or
    `clip.json` beside `clip.mp4` gives it the columns of a manifest, `clip.txt` a caption; the manifest wins over both.

    A video_id comes out as `Source`s of one file or as one `Failure`, never as both: a row that claims an id that
    went to another file, or that failed before, fails under an id of its own.

    Args:
        paths: files, folders, patterns, `file://` URIs.
        manifest: `.csv` or `.tsv` (any of `,` `;` tab), `.jsonl`, or `.parquet`, UTF-8, with a column `uri` relative to
            the manifest's folder. Read as a stream.

    Raises:
        ValueError: the manifest as a whole cannot be read: absent, of another format or encoding, without `uri`.
    """
    ids, has_texts = _Ids(), cache(_has_texts)
    met: set[str] = set()
    if manifest is not None:
        name = _writable(manifest.name)
        for place, row in _manifest_rows(manifest):
            found = _from_row(row, manifest, f"{name}, {place}", ids, has_texts)
            met.add(found.uri)
            yield found
        met.add(_uri(_absolute(manifest)))
    names = [str(path) for path in paths]
    sidecars = _sidecars([path for path in map(Path, names) if os.path.isfile(path)])  # what a shell makes of clips/*
    for name in names:
        try:
            files = _expand(Path(_local_name(name)))
        except _Fault as fault:
            yield _failure(fault, {}, _writable(name), _writable(name), ids)
            continue
        for path in files:
            if (uri := _uri(_absolute(path))) not in met and path not in sidecars:
                met.add(uri)
                yield _from_path(_absolute(path), {}, _writable(str(path)), ids, has_texts)


class BadFields(ValueError):
    """What was said of an upload is not what is wanted; `reason` is a countable slug."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def named(fields: Mapping[str, Any], path: Path, *, uri: str, origin: str) -> Source:
    """A source of which somebody said this, in the columns of a manifest.

    Raises:
        BadFields: one of them is not what is wanted.
    """
    try:
        return replace(_source(_present(fields), path, origin), uri=uri)
    except _Fault as fault:
        raise BadFields(fault.reason, str(fault)) from fault


def edited(fields: Mapping[str, Any], before: Upload) -> dict[str, Any]:
    """Those of a caption, hashtags and visibility that were given, as an upload has them.

    Hashtags that came from the old caption, and are not given, come from the new one.

    Raises:
        BadFields: one of them is not what is wanted.
    """
    source = named(fields, Path(), uri="", origin="an edit")
    changed = {name for name in ("caption", "hashtags", "visibility") if fields.get(name) is not None}
    if "caption" in changed and before.hashtags == hashtags_in(before.caption):
        changed.add("hashtags")
    return {name: getattr(source, name) for name in changed}


def hashtags_in(caption: str) -> tuple[str, ...]:
    """Find the hashtags of a caption, in any script: case folded, NFC, in order, none twice.

    A tag is a run of letters, marks, digits and underscores with a letter in it. A `#` inside a word or an address
    begins none, but one that ends a tag may begin the next, and scripts that put no space between words need none.
    After Unicode UAX #31, "Hashtag Identifiers".

    >>> hashtags_in("Good morning #Café #猫#кот a#b ##no #1 https://example.org/#top #100days")
    ('café', '猫', 'кот', '100days')
    """
    if not _HASH.search(caption):
        return ()
    pieces = _HASH.split(" " + _ADDRESS.sub(" ", unicodedata.normalize("NFC", caption)))
    tags: list[str] = []
    chained = False  # the piece before is a tag up to its last character
    for before, piece in pairwise(pieces):
        body = "".join(takewhile(_belongs_to_tag, piece))
        is_tag = any(map(str.isalpha, body)) and (chained or _may_stand_before_tag(before))
        chained = is_tag and body == piece
        if is_tag:
            tags.append(body)
    return _tidy_tags(tags)


_HASH = re.compile("[#＃﹟]")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_JOINERS = "\u200c\u200d"  # inside Persian and Indic words


def _belongs_to_tag(char: str) -> bool:
    return char.isalnum() or char == "_" or char in _JOINERS or unicodedata.category(char)[0] == "M"


def _may_stand_before_tag(before: str) -> bool:
    if not before or before[-1] in "&/":  # `##`, `&#39;`, `page/#top`
        return False
    return not _belongs_to_tag(before[-1]) or unicodedata.east_asian_width(before[-1]) == "W"


def _tidy_tags(tags: Sequence[str]) -> tuple[str, ...]:
    folded = (unicodedata.normalize("NFC", unicodedata.normalize("NFC", tag).casefold()) for tag in tags)
    stripped = (tag.strip("#＃﹟" + _JOINERS).strip() for tag in folded)
    return tuple(dict.fromkeys(tag for tag in stripped if tag))


# Ids and faults


class ManifestError(ValueError):
    """A manifest cannot be read at all. A line that cannot is a `Failure`; this is the caller's to mend."""


class _Fault(Exception):
    """What is wrong with one name or one row, on its way to becoming a `Failure`."""

    def __init__(self, step: str, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.step = step
        self.reason = reason

    def failure(self, uri: str, origin: str, video_id: str) -> Failure:
        detail = " ".join(_writable(f"{origin}: {self}").split())
        return Failure(video_id=video_id, uri=uri, step=self.step, reason=self.reason, detail=detail)


class _Ids:
    """Who was given which id, so that an id ends as one thing."""

    def __init__(self) -> None:
        self._holders: dict[str, str | None] = {}  # id -> uri of its file; None: a failure

    def claim(self, video_id: str, uri: str) -> None:
        """Give an id to a file; the same file may come again, as an edit."""
        if self._holders.setdefault(video_id, uri) != uri:
            holder = self._holders[video_id] or "a failure"
            raise _Fault("manifest", "repeated_video_id", f"video_id {_shown(video_id)} was given to {holder} before")

    def of_failure(self, given: str | None, uri: str, origin: str) -> str:
        """The caller's id where it is free, else one that is the same each time the same thing is named."""
        for video_id in (given, derived_id(uri), derived_id(f"{uri}, {origin}")):
            if video_id is not None and video_id not in self._holders:
                break
        assert video_id is not None
        self._holders[video_id] = None
        return video_id


def derived_id(text: str) -> str:
    """An id for what has none of its own and no bytes to take one from; the same for the same text."""
    return f"f_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


_BRIEFLY = reprlib.Repr()
_BRIEFLY.maxstring = _BRIEFLY.maxother = 80


def _shown(value: object) -> str:
    """A value for a message: quoted, on one line, not endless."""
    return _BRIEFLY.repr(value)


# Paths


def _expand(named: Path) -> Iterator[Path]:
    """Turn a name into files; one that leads to none comes back as it is, and fails when it is looked at."""
    if os.path.isdir(named):  # unlike Path.is_dir, a name too long or forbidden is just none
        yield from _walk(named)
    elif not os.path.lexists(named) and glob.has_magic(str(named)):
        yield from _matches(named)
    else:
        yield named


def _walk(folder: Path) -> Iterator[Path]:
    failed: list[Path] = []
    is_empty = True
    for root, folders, names in os.walk(folder, onerror=lambda error: failed.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(root, name) for name in sorted(names) if not name.startswith(".")]
        # Pipes, sockets and devices are nobody's upload; a link to nowhere is, and fails.
        files = _without_sidecars([path for path in paths if os.path.isfile(path) or os.path.islink(path)])
        is_empty = is_empty and not files
        yield from files
    yield from failed
    if is_empty and not failed:
        yield folder


def _matches(pattern: Path) -> Iterator[Path]:
    paths = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
    files = _without_sidecars([path for path in paths if not os.path.isdir(path)])
    # `clips/**` has matched what lies in its folders; a pattern that matches nothing but folders means what they hold.
    yield from files
    if not files:
        for path in paths or [pattern]:
            yield from _walk(path) if os.path.isdir(path) else [path]


def _sidecars(files: Sequence[Path]) -> set[Path]:
    """Which of these files are about another of them."""
    owners = {
        (file.parent, name)
        for file in files
        if file.suffix.lower() not in SIDECAR_SUFFIXES
        for name in (file.name, file.stem)
    }
    return {f for f in files if f.suffix.lower() in SIDECAR_SUFFIXES and (f.parent, f.stem) in owners}


def _without_sidecars(files: Sequence[Path]) -> list[Path]:
    sidecars = _sidecars(files)
    return [file for file in files if file not in sidecars]


def _local_name(name: str) -> str:
    try:
        return local_name(name)
    except UnsupportedUri as error:
        wanted = f"wants a path or a file:// URI of this machine, got {_shown(name)}"
        raise _Fault("read", "unsupported_uri", wanted) from error


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _uri(path: Path) -> str:
    return str(path) if _is_writable(str(path)) else path.as_uri()


def _writable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")


_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def _is_writable(text: str) -> bool:
    """No half characters (names that are not UTF-8, lone surrogates in JSON) and no NUL: databases take neither."""
    return "\0" not in text and (text.isascii() or not _HALF_CHARACTER.search(text))


def _check_readable(path: Path) -> None:
    shown = _writable(str(path))
    try:
        mode = path.stat().st_mode
    except OSError as error:
        reason = "not_readable" if isinstance(error, PermissionError) else "not_found"
        raise _Fault("read", reason, f"wants a file, got {shown}: {error.strerror}") from error
    if not os.access(path, os.R_OK):
        raise _Fault("read", "not_readable", f"no permission to read {shown}")
    if stat.S_ISDIR(mode):
        raise _Fault("read", "no_files", f"no files in the folder {shown}")
    if not stat.S_ISREG(mode):
        raise _Fault("read", "not_a_file", f"wants a regular file, got {shown}")


def _from_path(
    path: Path, row: Mapping[str, Any], origin: str, ids: _Ids, has_texts: Callable[[str], bool]
) -> Source | Failure:
    fields = dict(row)
    try:
        _check_readable(path)
        if has_texts(os.path.dirname(path)):
            fields = _sidecar_fields(path) | fields
        source = _source(fields, path, origin)
        if source.video_id is not None:
            ids.claim(source.video_id, source.uri)
        return source
    except _Fault as fault:
        return _failure(fault, fields, _uri(path), origin, ids)


def _failure(fault: _Fault, fields: Mapping[str, Any], uri: str, origin: str, ids: _Ids) -> Failure:
    try:
        given = _video_id(fields)
    except _Fault:
        given = None
    return fault.failure(uri, origin, ids.of_failure(given, uri, origin))


# Sidecars


def _has_texts(folder: str) -> bool:
    """Whether a folder may hold sidecars at all: looking once spares four looks a file."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith((".txt", ".json")) for entry in entries)
    except OSError:
        return True


def _sidecar_fields(path: Path) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    whole, stem = str(path), str(path)[: -len(path.suffix) or None]
    for suffix, read in ((".txt", _read_caption), (".json", _read_columns)):
        for sidecar in dict.fromkeys((stem + suffix, whole + suffix)):  # texts: a path costs ten times as much
            if sidecar != whole and os.path.isfile(sidecar):
                fields |= _read_sidecar(Path(sidecar), read)
    return fields


def _read_sidecar(sidecar: Path, read: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    try:
        with sidecar.open("rb") as file:
            data = file.read(SIDECAR_MAX_BYTES + 1)
        if len(data) > SIDECAR_MAX_BYTES:
            raise ValueError(f"wants at most {SIDECAR_MAX_BYTES} bytes")
        return read(data.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _Fault("read", "bad_sidecar", f"{sidecar.name}: {error}") from error


def _read_caption(text: str) -> dict[str, Any]:
    return _present({"caption": text})


def _read_columns(text: str) -> dict[str, Any]:
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"wants a JSON object, got {_shown(fields)}")
    return _present({name: value for name, value in fields.items() if name != "uri"})


# Manifests: (where, for a person) and a row of present values, or what is wrong with it

_Row = tuple[str, dict[str, Any] | _Fault]


def _manifest_rows(manifest: Path) -> Iterator[_Row]:
    readers = {".csv": _csv_rows, ".tsv": _csv_rows, ".jsonl": _jsonl_rows, ".ndjson": _jsonl_rows}
    readers |= {".parquet": _parquet_rows}
    read = readers.get(manifest.suffix.lower())
    if read is None:
        raise ManifestError(
            f"manifest {manifest}: wants one of {' '.join(readers)}, got {manifest.suffix or 'no suffix'}"
        )
    try:
        yield from read(manifest)
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"manifest {manifest}: wants UTF-8, got {error.object[error.start]:#04x}: {error}"
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"manifest {manifest}: wants a readable {manifest.suffix}, got {error}") from error


def _csv_rows(manifest: Path) -> Iterator[_Row]:
    delimiter = _delimiter(manifest)
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = _header(next(reader))
        while True:
            line = reader.line_num + 1  # where the row begins; quoted line breaks make it longer
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                lines = f"line {line}" if line == reader.line_num else f"lines {line} to {reader.line_num}"
                yield lines, _Fault("manifest", "bad_csv", f"wants quotes that are closed and doubled inside: {error}")
                continue
            if len(cells) > len(header):
                fault = f"wants {len(header)} columns, got {len(cells)}, from {_shown(cells[len(header)])} on"
                yield f"line {line}", _Fault("manifest", "too_many_columns", fault)
            elif cells:
                yield f"line {line}", _present(dict(zip(header, cells, strict=False)))


def _delimiter(manifest: Path) -> str:
    for delimiter in ",;\t":
        with manifest.open(encoding="utf-8-sig", newline="") as file, contextlib.suppress(csv.Error):
            if "uri" in _header(next(csv.reader(file, delimiter=delimiter, strict=True), [])):
                return delimiter
    with manifest.open(encoding="utf-8-sig") as file:
        raise ManifestError(
            f"manifest {manifest}: wants a column 'uri', parted by , ; or tab, got {_shown(file.readline())}"
        )


def _header(cells: Sequence[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    header = [name.lower() if name.lower() in _COLUMNS else name for name in header]
    if len(set(header)) < len(header):
        raise ManifestError(f"a manifest wants every column once, got {header}")
    return header


def _jsonl_rows(manifest: Path) -> Iterator[_Row]:
    with manifest.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"line {number}", _Fault("manifest", "bad_json", f"{error}, got {_shown(line.strip())}")
                continue
            if isinstance(row, dict):
                yield f"line {number}", _present(row)
            else:
                yield f"line {number}", _Fault("manifest", "bad_json", f"wants an object, got {_shown(row)}")


def _parquet_rows(manifest: Path) -> Iterator[_Row]:
    with pq.ParquetFile(manifest) as file:
        if "uri" not in file.schema_arrow.names:
            raise ManifestError(f"manifest {manifest}: wants a column 'uri', got {file.schema_arrow.names}")
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            # Nanoseconds, as pandas writes them, do not fit a datetime.
            kinds = [
                kind.with_type(pa.timestamp("us", tz=kind.type.tz)) if pa.types.is_timestamp(kind.type) else kind
                for kind in batch.schema
            ]
            for row in batch.cast(pa.schema(kinds), safe=False).to_pylist():
                number += 1
                yield f"row {number}", _present(row)


def _from_row(
    row: dict[str, Any] | _Fault, manifest: Path, origin: str, ids: _Ids, has_texts: Callable[[str], bool]
) -> Source | Failure:
    fields = {} if isinstance(row, _Fault) else row
    named = ""
    try:
        if isinstance(row, _Fault):
            raise row
        named = _text(fields, "uri") or ""
        if not named:
            raise _Fault("manifest", "no_uri", f"wants a uri, got {_shown(fields)}")
        path = Path(os.path.abspath(os.path.join(manifest.parent, _local_name(named))))
    except _Fault as fault:
        return _failure(fault, fields, named or f"{_uri(_absolute(manifest))}, {origin}", origin, ids)
    return _from_path(path, fields, origin, ids, has_texts)


# Fields


def _source(fields: Mapping[str, Any], path: Path, origin: str) -> Source:
    caption = _text(fields, "caption") or ""
    return Source(
        path=path,
        uri=_uri(path),
        origin=origin,
        video_id=_video_id(fields),
        creator_id=_text(fields, "creator_id"),
        caption=caption,
        hashtags=_given_tags(fields["hashtags"]) if "hashtags" in fields else hashtags_in(caption),
        sound_id=_text(fields, "sound_id"),
        language=_text(fields, "language"),
        uploaded_at=_instant(fields["uploaded_at"]) if "uploaded_at" in fields else None,
        visibility=_text(fields, "visibility") or "public",
        extra=_extra(fields),
    )


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is null, blank, or the NaN that pandas writes for "nothing"."""
    return {
        name: value
        for name, value in fields.items()
        if value is not None
        and not (isinstance(value, str) and not value.strip())
        and not (isinstance(value, float) and math.isnan(value))
    }


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # what pandas makes of whole numbers in a column with gaps
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and _is_writable(value):
        return value
    raise _Fault("manifest", f"bad_{name}", f"{name} wants text, got {_shown(value)}")


def _video_id(fields: Mapping[str, Any]) -> str | None:
    video_id = _text(fields, "video_id")
    if video_id is None or (
        len(video_id) <= VIDEO_ID_MAX_CHARS
        and video_id == video_id.strip()
        and (video_id.isprintable() or not any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in video_id))
    ):
        return video_id
    wanted = f"at most {VIDEO_ID_MAX_CHARS} characters, none of them a control character, no space at the ends"
    raise _Fault("manifest", "bad_video_id", f"video_id wants {wanted}, got {_shown(video_id)} ({len(video_id)})")


def _given_tags(value: Any) -> tuple[str, ...]:
    """A list, a JSON list, or words divided by `#`, commas or spaces."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise _Fault("manifest", "bad_hashtags", f"hashtags want a JSON list, got {_shown(value)}") from error
    if isinstance(value, str):
        value = re.split(r"[#＃﹟,，\s]+", value)
    if not isinstance(value, list) or not all(isinstance(tag, str) and _is_writable(tag) for tag in value):
        raise _Fault("manifest", "bad_hashtags", f"hashtags want a list of texts, got {_shown(value)}")
    return _tidy_tags(value)


def _instant(value: Any) -> datetime:
    """ISO 8601 or Unix seconds; UTC where no zone is said."""
    try:
        if isinstance(value, str):
            value = float(value) if re.fullmatch(r"\d{9,10}(\.\d*)?", value.strip()) else datetime.fromisoformat(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _Fault("manifest", "bad_uploaded_at", f"uploaded_at: {error}, got {_shown(value)}") from error
    raise _Fault("manifest", "bad_uploaded_at", f"uploaded_at wants ISO 8601 or Unix seconds, got {_shown(value)}")


def _extra(fields: Mapping[str, Any]) -> dict[str, Any]:
    try:
        extra = {_writable(name): _plain(value) for name, value in fields.items() if name not in _COLUMNS}
    except RecursionError as error:
        raise _Fault("manifest", "bad_extra", "wants columns that are not nested hundreds deep") from error
    return {name: _FOR_FEEDS[name](value) if name in _FOR_FEEDS else value for name, value in extra.items()}


def _category(value: Any) -> Any:
    name = value.strip().casefold() if isinstance(value, str) else value
    if name in ("", None) or name in CATEGORIES:
        return name
    raise _Fault("manifest", "bad_category", f"category wants one of {', '.join(CATEGORIES)}; got {_shown(value)}")


def _sensitive(value: Any) -> Any:
    said = _yes_or_no(value)
    if isinstance(said, bool):
        return said
    raise _Fault("manifest", "bad_sensitive", f"sensitive wants true or false, got {_shown(value)}")


def _flags(value: Any) -> Any:
    """A name, names, or just whether: whatever is said, but `no`, keeps the video from every feed."""
    said = _yes_or_no(value)
    if isinstance(said, bool | str) or (isinstance(said, list) and all(isinstance(one, str) for one in said)):
        return said
    raise _Fault("manifest", "bad_flags", f"flags want a list of texts, a text, true or false, got {_shown(value)}")


def _yes_or_no(value: Any) -> Any:
    """A truth as it is written where everything is text or a number; what is none, as it came."""
    if isinstance(value, str):
        return _TRUTHS.get(value.strip().casefold(), value)
    return bool(value) if value in (0, 1, None) else value


_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
_FOR_FEEDS: Mapping[str, Callable[[Any], Any]] = {"category": _category, "flags": _flags, "sensitive": _sensitive}
"""Further columns that the feed goes by, and so must be what it knows."""


def _plain(value: Any) -> Any:
    """Keep what JSON has a word for; the rest (dates, decimals, bytes) as text."""
    if isinstance(value, str):
        return _writable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        return {_writable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
