"""Which pictures of an H.264 or HEVC stream need not be decoded, told from its packets. Standard library only.

Most pictures of a video are decoded only to be dropped again. Where nothing refers to such a picture, leaving it out
changes no other one: a third of the decoding of a usual clip. The packets say all of that before anything is decoded.
This module believes a stream only as far as it can check it; the rest is `Unforeseen`, and is decoded whole.

What stays unseen is damage inside a picture that nobody wanted and nothing refers to.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass

_H264_SLICES, _H264_IDR = frozenset({1, 5}), 5
_H264_HARMLESS = frozenset({6, 7, 8, 9, 12})
"""Messages, parameter sets, delimiters, filler. Source: Rec. ITU-T H.264, table 7-1."""
_HEVC_SLICES, _HEVC_ENTRIES = frozenset({*range(10), 19, 20, 21}), frozenset({19, 20, 21})
"""Without BLA: pictures after one are dropped though their packets are there. Source: Rec. ITU-T H.265, table 7-1."""
_HEVC_HARMLESS = frozenset({32, 33, 34, 35, 38, 39, 40, 62})
"""Parameter sets, delimiters, filler, messages, and what Dolby Vision says of colours."""

MAX_UNITS = 256
"""In one packet; a picture is a handful of them, and a hostile file could have millions."""


class Unforeseen(Exception):
    """The stream is not as regular as it would have to be, or did not turn out as foretold."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a packet says of its one picture."""

    is_entry: bool
    """Decoding may begin here."""
    is_reference: bool
    """Later pictures of its layer, or of any layer where there is only one, may refer to it."""
    layer: int = 0
    """The temporal layer; pictures of a higher one may refer to any picture of a lower."""


class Packets:
    """Reads the packets of one stream, as MP4 and Matroska store them: each unit behind its length.

    Args:
        codec: `h264` or `hevc`.
        extradata: the `avcC` or `hvcC` record.

    Raises:
        Unforeseen: another codec, or stored in another way.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        length_at = {"h264": 4, "hevc": 21}.get(codec)
        if length_at is None or not extradata or extradata[0] != 1 or len(extradata) <= length_at + 1:
            raise Unforeseen(f"{codec}, and not behind lengths")
        self._length_bytes = (extradata[length_at] & 3) + 1
        self._picture = _h264_picture if codec == "h264" else _hevc_picture

    def picture(self, packet: memoryview) -> Picture:
        """Read the headers of one packet.

        Raises:
            Unforeseen: lengths that do not fit, not exactly one picture, or units that are rare.
        """
        at, end, headers = 0, len(packet), []
        while at < end:
            start = at + self._length_bytes
            at = start + int.from_bytes(packet[at:start])
            if not start + 2 <= at <= end:
                raise Unforeseen(f"a unit of {at - start} bytes, {end - start} are left")
            headers.append(bytes(packet[start : min(start + 3, at)]))
            if len(headers) > MAX_UNITS:
                raise Unforeseen(f"more than {MAX_UNITS} units in a packet")
        return self._picture(headers)


def _h264_picture(headers: Sequence[bytes]) -> Picture:
    begun, referred, kinds = 0, set(), set()
    for header in headers:
        kind = header[0] & 31
        if kind in _H264_SLICES:
            begun += header[1] >> 7  # `first_mb_in_slice` is 0: a picture begins
            referred.add(header[0] & 0x60 != 0)
            kinds.add(kind)
        elif kind not in _H264_HARMLESS:
            raise Unforeseen(f"a unit of kind {kind}")
    if begun != 1 or len(referred) != 1:
        raise Unforeseen(f"{begun} pictures in a packet, one wanted")
    return Picture(is_entry=kinds == {_H264_IDR}, is_reference=referred.pop())


def _hevc_picture(headers: Sequence[bytes]) -> Picture:
    begun, found = 0, set()
    for header in headers:
        kind = header[0] >> 1 & 63
        if header[0] & 1 or header[1] >> 3:
            raise Unforeseen("more than one layer")
        if kind in _HEVC_SLICES:
            begun += header[-1] >> 7  # `first_slice_segment_in_pic_flag`
            found.add((kind, (header[1] & 7) - 1))
        elif kind not in _HEVC_HARMLESS:
            raise Unforeseen(f"a unit of kind {kind}")
    if begun != 1 or len(found) != 1:
        raise Unforeseen(f"{begun} pictures in a packet, one wanted")
    kind, layer = found.pop()
    return Picture(is_entry=kind in _HEVC_ENTRIES, is_reference=kind >= 16 or kind % 2 == 1, layer=layer)


def spare(pictures: Sequence[Picture]) -> list[bool]:
    """Tell of each picture, in the order of decoding, whether nothing at all refers to it.

    "Not a reference" is said within a layer; above it there must be no other.

    >>> spare([Picture(True, True), Picture(False, False), Picture(False, False, 1), Picture(False, True, 1)])
    [False, False, True, False]
    """
    highest = max(picture.layer for picture in pictures)
    return [not picture.is_reference and picture.layer == highest for picture in pictures]


def check_order(pts: Sequence[int | None], pictures: Sequence[Picture], reorder_depth: int) -> list[int]:
    """Return the presentation timestamps, in the order of decoding, where every picture will come out, and in order.

    Args:
        pts: of each packet.
        pictures: what each holds.
        reorder_depth: how many pictures the decoder holds back before it lets go of the earliest.

    Raises:
        Unforeseen: a timestamp is missing or there twice, the stream begins in the middle of something, or pictures
            come later than the decoder waits for them, so that it would drop some.
    """
    known = [number for number in pts if number is not None]
    if not known or len(known) != len(pts) or len(set(known)) != len(known):
        raise Unforeseen("timestamps that are missing, or there twice")
    if not pictures[0].is_entry or known[0] != min(known):
        raise Unforeseen("it does not begin with a picture that stands alone")
    decoded: list[int] = []
    for number in known:
        if len(decoded) - bisect_right(decoded, number) > reorder_depth:
            raise Unforeseen(f"pictures are further out of order than {reorder_depth}")
        insort(decoded, number)
    return known
