"""What a player gets of an original: the same bytes, with what they say of their maker blanked out.

Phones write where and with what a video was taken into the container. Boxes of an MP4 that no player needs become
`free` boxes of the same size, full of zeros, and so do tracks that are neither picture nor sound, with their samples;
tags of a WebM become `Void`. Every other byte stays in its place, so that ranges of the played file are ranges of the
original, and nothing is decoded or written anew.

Source: ISO/IEC 14496-12, 4.2, 8.1.2, 8.10.1; RFC 9559, 5.1.2, 5.1.8; RFC 8794, 7.4, 11.3.2.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

ReadAt = Callable[[int, int], bytes]
"""(offset, count) -> those bytes of the file, fewer at its end."""

KEPT = {
    b"": frozenset({b"ftyp", b"styp", b"pdin", b"moov", b"moof", b"mdat", b"sidx", b"mfra"}),
    b"moov": frozenset({b"mvhd", b"trak", b"mvex", b"iods"}),
    b"trak": frozenset({b"tkhd", b"mdia", b"edts", b"tref", b"tapt"}),
    b"mdia": frozenset({b"mdhd", b"hdlr", b"minf", b"elng"}),
    b"moof": frozenset({b"mfhd", b"traf"}),
    b"traf": frozenset({b"tfhd", b"tfdt", b"trun", b"sdtp", b"sbgp", b"sgpd", b"subs", b"saiz", b"saio", b"senc"}),
}
"""Box -> what is kept in it; the file is "". Whatever a player does not need is blanked, since makers invent boxes."""
BOXES_MAX = 50_000
"""Of a file."""
SAMPLES_MAX = 1_000_000
_EBML, _VOID = 0x1A45DFA3, 0xEC
_OPENED_ELEMENTS = frozenset({0x18538067, 0x1549A966, 0x1654AE6B, 0xAE})
"""Segment, its Info, Tracks, and a TrackEntry."""
_BLANKED_ELEMENTS = frozenset(
    {0x1254C367, 0x1941A469, 0x1043A770, 0x7BA9, 0x7384, 0x3C83AB, 0x3E83BB, 0x4461, 0x536E, 0xBF}
)
"""Tags, Attachments, Chapters; in Info the Title, DateUTC, the names of the file and its neighbours; a track's Name;
and checksums of those opened."""
_EMPTIED_ELEMENTS = frozenset({0x4D80, 0x5741})
"""MuxingApp and WritingApp, which an Info has to have: a text that begins with zero is empty."""
_HANDLER_AT = 8  # of a hdlr box's payload: version and flags, then a word that is 0, then the kind of track
PLAYED = frozenset({b"vide", b"soun"})


class NotPlayable(ValueError):
    """A container of which we do not know what it says of its maker."""


@dataclass(frozen=True, slots=True)
class Blank:
    """Bytes to hand out in place of the original's."""

    start: int
    data: bytes
    """What stands at `start`; zeros follow up to `end`."""
    end: int


def kind_of(head: bytes) -> str:
    """The media type of a file that may be played, by its first bytes.

    Raises:
        NotPlayable: neither an MP4 nor a WebM.
    """
    if head[4:8] == b"ftyp":
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    if head[:4] == _EBML.to_bytes(4):
        return "video/webm"
    raise NotPlayable("an MP4, MOV, WebM or Matroska is wanted")


def blanks(read_at: ReadAt, size: int) -> list[Blank]:
    """Find what is to be blanked, by ascending place.

    Raises:
        NotPlayable: another container, or one that is torn.
    """
    if kind_of(read_at(0, 16)) == "video/webm":
        return list(_of_webm(read_at, size))
    reader = _Boxes(read_at)
    found = list(reader.blanks(0, size, b""))
    if reader.hides_samples and reader.is_fragmented:
        raise NotPlayable("it has a track that is neither picture nor sound, in fragments")
    return sorted(found, key=lambda blank: blank.start)


def blanked(data: bytes, start: int, found: list[Blank]) -> bytes:
    """Bytes of the original from `start` on, as they are handed out.

    >>> blanked(b"abcdefgh", 10, [Blank(12, b"XY", 16)])
    b'abXY\\x00\\x00gh'
    """
    end = start + len(data)
    out = bytearray(data)
    for blank in found[bisect_right(found, start, key=lambda blank: blank.end) :]:
        if blank.start >= end:
            break
        low, high = max(blank.start, start), min(blank.end, end)
        if low < high:
            written = blank.data[low - blank.start : high - blank.start]
            out[low - start : high - start] = written.ljust(high - low, b"\0")
    return bytes(out)


class _Boxes:
    """Walks through the boxes of one file."""

    def __init__(self, read_at: ReadAt) -> None:
        self._read_at = read_at
        self._left = BOXES_MAX
        self.hides_samples = self.is_fragmented = False

    def blanks(self, start: int, end: int, parent: bytes) -> Iterator[Blank]:
        for place, kind, header, stop in self._boxes(start, end):
            self.is_fragmented |= kind == b"moof"
            if kind not in KEPT[parent]:
                yield _free(place, header, stop)
            elif kind == b"trak" and not self._is_played(place + header, stop):
                yield _free(place, header, stop)
                yield from self._samples(place + header, stop)
                self.hides_samples = True
            elif kind in KEPT:
                yield from self.blanks(place + header, stop, kind)

    def _boxes(self, start: int, end: int) -> Iterator[tuple[int, bytes, int, int]]:
        """(place, kind, length of the header, end) of each box."""
        place = start
        while place < end:
            self._left -= 1
            if self._left < 0:
                raise NotPlayable(f"more than {BOXES_MAX} boxes")
            head = self._read_at(place, 16)
            if len(head) < 8:
                raise NotPlayable(f"a box is torn at byte {place}")
            length, header = int.from_bytes(head[:4]), 8
            if length == 1:
                length, header = int.from_bytes(head[8:16]), 16
            elif length == 0:
                length = end - place
            if length < header or place + length > end:
                raise NotPlayable(f"a box of {length} bytes at byte {place} does not fit")
            yield place, head[4:8], header, place + length
            place += length

    def _inside(self, start: int, end: int, *path: bytes) -> tuple[int, int] | None:
        """[start, end) of what the first box on a path holds."""
        for place, kind, header, stop in self._boxes(start, end):
            if kind == path[0]:
                return (place + header, stop) if len(path) == 1 else self._inside(place + header, stop, *path[1:])
        return None

    def _is_played(self, start: int, end: int) -> bool:
        """A track of pictures or sound; another may be a log of places, which cameras write twenty times a second."""
        handler = self._inside(start, end, b"mdia", b"hdlr")
        return handler is not None and self._read_at(handler[0] + _HANDLER_AT, 4) in PLAYED

    def _samples(self, start: int, end: int) -> Iterator[Blank]:
        """Where the samples of a track lie. Source: ISO/IEC 14496-12, 8.7."""
        table = self._inside(start, end, b"mdia", b"minf", b"stbl")
        if table is None:
            return
        sizes = self._sizes(self._inside(*table, b"stsz"))
        offsets = self._numbers(self._inside(*table, b"stco"), 4) or self._numbers(self._inside(*table, b"co64"), 8)
        runs = self._numbers(self._inside(*table, b"stsc"), 4, each=3)
        sample = run = 0
        for chunk, offset in enumerate(offsets, 1):
            while 3 * (run + 1) < len(runs) and runs[3 * (run + 1)] <= chunk:
                run += 1
            count = runs[3 * run + 1] if runs else 1
            length = sum(sizes[sample : sample + count])
            sample += count
            if length:
                yield Blank(offset, b"", offset + length)

    def _sizes(self, box: tuple[int, int] | None) -> list[int]:
        if box is None:
            raise NotPlayable("a track without the sizes of its samples")
        head = self._read_at(box[0], 12)
        every, count = int.from_bytes(head[4:8]), int.from_bytes(head[8:12])
        if count > SAMPLES_MAX:
            raise NotPlayable(f"more than {SAMPLES_MAX} samples")
        if every:
            return [every] * count
        data = self._read_at(box[0] + 12, 4 * count)
        return [int.from_bytes(data[i : i + 4]) for i in range(0, len(data), 4)]

    def _numbers(self, box: tuple[int, int] | None, width: int, *, each: int = 1) -> list[int]:
        """The numbers of a box that begins with a word of flags and their count."""
        if box is None:
            return []
        count = int.from_bytes(self._read_at(box[0] + 4, 4)) * each
        if count > SAMPLES_MAX:
            raise NotPlayable(f"more than {SAMPLES_MAX} numbers")
        data = self._read_at(box[0] + 8, width * count)
        return [int.from_bytes(data[i : i + width]) for i in range(0, len(data), width)]


def _free(place: int, header: int, stop: int) -> Blank:
    length = stop - place
    head = length.to_bytes(4) + b"free" if header == 8 else (1).to_bytes(4) + b"free" + length.to_bytes(8)
    return Blank(place, head, stop)


def _of_webm(read_at: ReadAt, size: int) -> Iterator[Blank]:
    place = 0
    for _ in range(BOXES_MAX):
        if place >= size:
            return
        element, header, length = _element(read_at, place)
        if element in _OPENED_ELEMENTS:
            place += header
            continue
        if length is None:
            return  # of unknown length, a live stream's cluster: tags do not follow
        stop = min(place + header + length, size)
        if element in _BLANKED_ELEMENTS:
            yield _void(place, stop)
        elif element in _EMPTIED_ELEMENTS and place + header < stop:
            yield Blank(place + header, b"", stop)
        place = stop


def _element(read_at: ReadAt, place: int) -> tuple[int, int, int | None]:
    """(id, length of id and size, length of what follows; None: unknown)."""
    head = read_at(place, 12)
    id_length = _vint_length(head, 0, 4)
    size_length = _vint_length(head, id_length, 8)
    size = int.from_bytes(head[id_length : id_length + size_length]) & ((1 << 7 * size_length) - 1)
    unknown = size == (1 << 7 * size_length) - 1
    return int.from_bytes(head[:id_length]), id_length + size_length, None if unknown else size


def _vint_length(head: bytes, at: int, most: int) -> int:
    if at >= len(head) or not head[at]:
        raise NotPlayable("an element is torn")
    length = 9 - head[at].bit_length()
    if length > most or at + length > len(head):
        raise NotPlayable("an element is torn")
    return length


def _void(place: int, stop: int) -> Blank:
    """An id and a size are two bytes at least, so there is room for a Void."""
    total = stop - place
    if total < 9:
        return Blank(place, bytes([_VOID, 0x80 | (total - 2)]), stop)
    return Blank(place, bytes([_VOID, 0x01]) + (total - 9).to_bytes(7), stop)
