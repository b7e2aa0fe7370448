"""Multipart bodies, a piece at a time: one file goes to the disk as it comes, a few short fields into memory."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from service.web.problems import Problem

FIELD_BYTES_MAX = 64 << 10
HEADER_BYTES_MAX = 8 << 10


async def read_form(request: Request, file: BinaryIO, *, fields: Collection[str]) -> dict[str, str]:
    """Write the part `file` to `file`, and return the others.

    Raises:
        Problem: no file or two, a field that we do not know, one too long, or no multipart at all.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        raise Problem(400, "bad_multipart", "multipart/form-data wants a boundary")
    form = _Form(set(fields))
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for piece in request.stream():
            parser.write(piece)
            if form.of_file:
                await asyncio.to_thread(_write, file, form.taken())
        parser.finalize()
    except FormParserError as error:
        raise Problem(400, "bad_multipart", str(error)) from error
    if not form.ended:
        raise Problem(400, "bad_multipart", "it ends before its last boundary")
    if form.files != 1:
        raise Problem(422, "no_file", "one part named file is wanted")
    await asyncio.to_thread(file.flush)
    return form.fields


def _write(file: BinaryIO, pieces: list[bytes]) -> None:
    for piece in pieces:
        file.write(piece)


class _Form:
    """What the parser tells, gathered."""

    def __init__(self, known: set[str]) -> None:
        self.fields: dict[str, str] = {}
        self.files = 0
        self.of_file: list[bytes] = []
        self.ended = False
        self._known = known
        self._header, self._value, self._headers_bytes = b"", b"", 0
        self._name: str | None = None
        self._is_file = False
        self._data = bytearray()

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_end": self._on_end,
        }

    def taken(self) -> list[bytes]:
        pieces, self.of_file = self.of_file, []
        return pieces

    def _begin(self) -> None:
        self._name, self._is_file, self._headers_bytes = None, False, 0
        self._data.clear()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._count_header(end - start)

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count_header(end - start)

    def _count_header(self, length: int) -> None:
        self._headers_bytes += length
        if self._headers_bytes > HEADER_BYTES_MAX:
            raise Problem(400, "bad_multipart", f"a part has more than {HEADER_BYTES_MAX} bytes of headers")

    def _on_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            self._is_file = self._name == "file"
        self._header = self._value = b""

    def _on_headers(self) -> None:
        if self._is_file:
            self.files += 1
            if self.files > 1:
                raise Problem(422, "two_files", "one file an upload")
        elif self._name not in self._known:
            raise Problem(
                422,
                "unknown_field",
                f"no field {str(self._name)[:100]!r}; there are file, {', '.join(sorted(self._known))}",
            )
        elif self._name in self.fields:
            raise Problem(422, "field_twice", f"{self._name} came twice")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.of_file.append(data[start:end])
            return
        self._data += data[start:end]
        if len(self._data) > FIELD_BYTES_MAX:
            raise Problem(422, "field_too_long", f"{self._name}: at most {FIELD_BYTES_MAX} bytes")

    def _end(self) -> None:
        if not self._is_file and self._name is not None:
            try:
                self.fields[self._name] = self._data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise Problem(422, "not_utf8", f"{self._name} wants UTF-8: {error}") from error

    def _on_end(self) -> None:
        self.ended = True
