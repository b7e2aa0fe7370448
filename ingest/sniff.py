"""What the first bytes of a file say it is. Standard library only.

It answers two questions: is this worth opening at all, and, where the demuxer only says "invalid data", what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable

HEAD_BYTES = 4096

_STILLS = {
    b"\xff\xd8": "JPEG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"8BPS": "PSD",
    b"DDS ": "DDS",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\x01\0": "ICO",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"qoif": "QOI",
}
_STILL_BRANDS = {b"avif", b"heic", b"heix", b"mif1", b"heim", b"heis", b"mif2", b"miaf"}
_CONTAINERS = {
    b"RIFF": "RIFF",
    b"RIFX": "RIFF",
    b"OggS": "Ogg",
    b"\x1aE\xdf\xa3": "Matroska",
    b"FLV": "FLV",
    b"GIF8": "GIF",
    b"fLaC": "FLAC",
    b"ID3": "MP3",
    b".RMF": "RealMedia",
    b"\x89PNG": "PNG",
    b"DKIF": "IVF",
    b"0&\xb2u": "ASF",
    b"FORM": "AIFF",
    b"\0\0\x01\xba": "MPEG program stream",
    b"\0\0\x01\xb3": "MPEG video",
    b"\0\0\0\x01": "H.264 or H.265",
    b"#!AMR": "AMR",
}
_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof", b"sidx", b"pnot", b"uuid"}
_PLAYLIST = re.compile(
    r"#EXTM3U|ffconcat\s|\[playlist\]|\[reference\]|(<\?xml[^>]*>\s*)?<(MPD|smil|asx|playlist|SmoothStreamingMedia)\b"
    r"|v=0\s*\r?\no=|rtsp://|https?://\S+\s*$",
    re.IGNORECASE,
)


def still_image(head: bytes) -> str | None:
    """Name the still picture format that `head` opens, or None. Animated kinds (GIF, APNG, AVIF sequences) are not.

    >>> still_image(bytes.fromhex("ffd8ffe0"))
    'JPEG'
    """
    for magic, name in _STILLS.items():
        if head.startswith(magic):
            return name
    if head.startswith(b"\x89PNG\r\n\x1a\n") and not re.search(rb"acTL(?!\0\0\0[\0\1])", head):  # frames > 1
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and b"ANIM" not in head[:64]:
        return "WebP"
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS and b"avis" not in head[:64]:
        return "AVIF or HEIF"
    if re.match(rb"P[1-7][\s#]", head):
        return "PNM"
    return None


def text(head: bytes) -> str | None:
    """Return `playlist` or `text_file` where the bytes are text, None where they are not.

    A playlist names other files and addresses, and a demuxer would go and fetch them.

    >>> text(b"#EXTM3U" + bytes([10]) + b"https://example.org/a.ts"), text(b"Dear diary"), text(bytes(8))
    ('playlist', 'text_file', None)
    """
    if re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", head):
        return None
    try:
        words = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not merely a character cut in two at the end of the head
            return None
        words = head[: error.start].decode("utf-8-sig")
    return "playlist" if _PLAYLIST.match(words.lstrip()) or "#EXTM3U" in words else "text_file"


def why_not_opened(head: bytes, size: int, read_at: Callable[[int, int], bytes]) -> tuple[str, str]:
    """Explain a file that no demuxer took: (reason, detail).

    Args:
        head: its first bytes.
        size: of the whole file, in bytes.
        read_at: (offset, count) -> bytes, to walk the boxes of an MP4.
    """
    if head[4:8] in _BOXES:
        return broken_boxes(head, size, read_at) or ("broken_moov", "an MP4 whose index cannot be read")
    for magic, name in _CONTAINERS.items():
        if head.startswith(magic):
            return "broken_header", f"begins like {name}, but its header cannot be read ({size} bytes)"
    if head[:2] in {b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa", b"\xff\xf1", b"\xff\xf9"}:
        return "broken_header", f"begins like MP3 or AAC, but no frame follows ({size} bytes)"
    return "not_media", f"no known container begins with {head[:8].hex(' ')}"


def broken_boxes(head: bytes, size: int, read_at: Callable[[int, int], bytes]) -> tuple[str, str] | None:
    """Say what is wrong with the outermost boxes of an MP4; None: nothing, or it is not one."""
    if head[4:8] not in _BOXES:
        return None
    offset = 0
    seen: list[bytes] = []
    for _ in range(10_000):
        header = read_at(offset, 16)
        if len(header) < 8:
            break
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - offset
        if length < 8:
            return "box_overrun", f"MP4 box {name!r} at {offset} claims {length} bytes"
        if offset + length > size:
            reason = "box_overrun" if b"moov" in seen else "truncated_header"
            return reason, f"MP4 box {name!r} at {offset} ends at {offset + length}, the file at {size}"
        seen.append(name)
        offset += length
    return None if b"moov" in seen else ("moov_missing", f"an MP4 without its index: boxes {b' '.join(seen[:8])!r}")
