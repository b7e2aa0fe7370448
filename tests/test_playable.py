"""What is played of an original shows the same pictures and says nothing of who took them, and where."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.web.playable import Blank, NotPlayable, blanked, blanks, kind_of

SECRETS = ("+48.8577+002.295/", "Phone of Ada Lovelace", "taken at home")


def write(path: Path, **options: str) -> bytes:
    """Two seconds of moving grey, with what phones write about places and people."""
    codec = "libvpx" if path.suffix == ".webm" else "libx264"
    with av.open(str(path), "w", options=options) as out:
        out.metadata.update({"location": SECRETS[0], "artist": SECRETS[1], "comment": SECRETS[2], "title": SECRETS[2]})
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            picture = np.full((48, 64, 3), 10 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path.read_bytes()


def played(data: bytes) -> bytes:
    return blanked(data, 0, blanks(lambda at, count: data[at : at + count], len(data)))


def pictures(data: bytes, path: Path) -> list[bytes]:
    path.write_bytes(data)
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mov", {"movflags": "use_metadata_tags"}),
        ("a.mp4", {"movflags": "faststart"}),
        ("a.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.webm", {}),
    ],
)
def test_the_pictures_are_the_same_and_the_words_are_gone(name: str, options: dict[str, str], tmp_path: Path) -> None:
    original = write(tmp_path / name, **options)
    assert any(secret.encode() in original for secret in SECRETS), "or there is nothing to hide"
    shown = played(original)
    assert len(shown) == len(original)
    for secret in SECRETS:
        assert secret.encode() not in shown
    assert pictures(shown, tmp_path / f"shown-{name}") == pictures(original, tmp_path / f"again-{name}")
    assert played(shown) == shown, "nothing is left to blank"


def test_a_webm_does_not_say_when_and_with_what_it_was_made(tmp_path: Path) -> None:
    secrets = {"creation_time": "2026-03-04T05:06:07Z", "title": "taken at home"}
    date_utc = bytes.fromhex("446188")  # and that eight bytes follow
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as out:
        out.metadata.update(secrets)
        stream = out.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    original = path.read_bytes()
    hidden = (date_utc, b"Lavf", b"Lavc", b"2026-03-04", b"taken at home")
    assert all(some in original for some in hidden[:2]), "or there is nothing to hide"
    shown = played(original)
    for some in hidden:
        assert some not in shown
    assert shown.count(bytes.fromhex("4d80")) == original.count(bytes.fromhex("4d80")), (
        "players want these two elements"
    )
    assert pictures(shown, tmp_path / "shown.webm") == pictures(original, tmp_path / "again.webm")
    assert played(shown) == shown


def box(kind: bytes, payload: bytes) -> bytes:
    return (8 + len(payload)).to_bytes(4) + kind + payload


def test_a_track_that_is_neither_picture_nor_sound_is_blanked() -> None:
    def track(kind: bytes, payload: bytes) -> bytes:
        return box(b"trak", box(b"mdia", box(b"hdlr", bytes(8) + kind + bytes(12)) + box(b"minf", payload)))

    start = box(b"ftyp", b"isom" + bytes(4)) + box(b"mdat", b"a picture+48.8577+002.2950another+48.8577+002.2951")
    sizes = box(b"stsz", bytes(8) + (2).to_bytes(4) + (17).to_bytes(4) * 2)
    places = start.index(b"+48"), start.rindex(b"+48")
    offsets = box(b"stco", bytes(4) + (2).to_bytes(4) + b"".join(place.to_bytes(4) for place in places))
    runs = box(b"stsc", bytes(4) + (1).to_bytes(4) + b"".join(number.to_bytes(4) for number in (1, 1, 1)))
    log = track(b"meta", box(b"stbl", sizes + offsets + runs))
    shown = played(start + box(b"moov", track(b"vide", b"a film") + log) + box(b"skip", b"GPS of a maker"))
    for kept in (b"a picture", b"another", b"a film"):
        assert kept in shown
    for hidden in (b"48.8577", b"GPS"):
        assert hidden not in shown
    assert shown.count(b"free") == 2


def test_large_sizes_are_kept_as_they_are_written() -> None:
    secret = b"where I live"
    wide = (1).to_bytes(4) + b"udta" + (16 + len(secret)).to_bytes(8) + secret
    data = box(b"ftyp", b"isom" + bytes(4)) + box(b"moov", wide)
    shown = played(data)
    assert secret not in shown
    assert shown[24:28] + shown[28:40] == (1).to_bytes(4) + b"free" + (16 + len(secret)).to_bytes(8)


@pytest.mark.parametrize("head", [b"", b"GIF89a" + bytes(20), b"\x00" * 40, b"RIFF" + bytes(30)])
def test_what_we_cannot_clean_is_not_played(head: bytes) -> None:
    with pytest.raises(NotPlayable):
        played(head)


@pytest.mark.parametrize("length", [0, 5, 7, 1_000_000, 2**32 - 1])
def test_a_torn_box_is_not_played(length: int) -> None:
    data = box(b"ftyp", b"isom" + bytes(4)) + length.to_bytes(4) + b"moov" + bytes(4)
    if length == 0:  # up to the end of the file
        data = data[:16] + (0).to_bytes(4) + b"moov" + length.to_bytes(4)
    with pytest.raises(NotPlayable):
        played(data)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400), webm=st.booleans())
def test_any_bytes_end_as_an_answer_or_a_refusal(data: bytes, webm: bool) -> None:
    head = bytes.fromhex("1a45dfa3") if webm else box(b"ftyp", b"isom" + bytes(4))
    try:
        shown = played(head + data)
    except NotPlayable:
        return
    assert len(shown) == len(head + data)


@given(
    data=st.binary(min_size=1, max_size=60),
    start=st.integers(0, 40),
    place=st.integers(0, 60),
    length=st.integers(2, 30),
    head=st.binary(min_size=0, max_size=2),
)
def test_a_range_of_the_blanked_is_the_blanked_of_a_range(
    data: bytes, start: int, place: int, length: int, head: bytes
) -> None:
    found = [Blank(place, head, place + length)]
    whole = blanked(bytes(start) + data, 0, found)
    assert blanked(data, start, found) == whole[start:]


def test_kinds_are_known_by_their_first_bytes() -> None:
    assert kind_of(box(b"ftyp", b"qt  ")) == "video/quicktime"
    assert kind_of(box(b"ftyp", b"isom")) == "video/mp4"
    assert kind_of(bytes.fromhex("1a45dfa3")) == "video/webm"
