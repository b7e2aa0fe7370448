"""The process that meets hostile bytes: `python -m ingest.decode_child CHANNEL_FD LIFELINE_FD SHARED_FD PLAN`.

It locks itself in, says so, and then answers one open file after the other with the pictures and the sound of it, or
with the reason why there are none. It opens no path itself, and it does without numpy, which takes four times as
long to load as everything else here.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import statistics
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from types import TracebackType
from typing import Any, NamedTuple

import av
import av.logging
import av.subtitles.codeccontext
import av.subtitles.stream  # both are imported late otherwise, when no path can be opened any more
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from ingest import sandbox, sniff
from ingest.decode_wire import REQUEST, Kind, Plan, send
from ingest.outlook import Packets, Unforeseen, check_order, spare
from ingest.slices import UNKNOWN_STEP_S, ChosenPicker, SlicePicker

FORMATS = (
    "mov,mp4,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,m4v,ogg,asf,rm,mxf,dv,ivf,obu,h264,hevc,vvc,h263,mjpeg,nut,"
    "gif,apng,wav,w64,mp3,aac,flac,aiff,au,caf,amr,amrnb,amrwb,ac3,eac3,dts,loas,ape,wv,tta,tak,voc,gsm,sln"
)
"""Demuxers that read one file and nothing else: no playlists, no image sequences, no devices, no subtitles, no text."""

STILL_FORMATS = ",jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe"
STILL_CODECS = frozenset({"webp", "bmp", "tiff"})
"""What a query may be besides; PNG and JPEG are codecs of videos too."""

_VIDEO_CODECS = (
    "h264 hevc vvc av1 libdav1d vp6 vp6a vp6f vp7 vp8 vp9 libvpx libvpx-vp9 mpeg1video mpeg2video mpegvideo mpeg4 "
    "msmpeg4 msmpeg4v1 msmpeg4v2 wmv1 wmv2 wmv3 vc1 h261 h263 h263i h263p flv theora vp3 vp4 dirac snow prores dnxhd "
    "cfhd mjpeg mjpegb dvvideo rv10 rv20 rv30 rv40 svq1 svq3 cinepak indeo2 indeo3 indeo4 indeo5 huffyuv ffvhuff ffv1 "
    "utvideo magicyuv lagarith qtrle rpza msvideo1 msrle flashsv flashsv2 tscc2 camtasia gif apng png rawvideo v210 "
    "yuv4 jpeg2000 apv"
)
_AUDIO_CODECS = (
    "aac aac_fixed aac_latm mp1 mp1float mp2 mp2float mp3 mp3float mp3adufloat mp3on4float opus libopus vorbis flac "
    "alac ac3 ac3_fixed eac3 dca truehd mlp amrnb amrwb libopencore_amrnb libopencore_amrwb speex libspeex gsm gsm_ms "
    "ilbc wmav1 wmav2 wmapro wmalossless wmavoice cook sipr ralf atrac1 atrac3 atrac3al atrac3plus qcelp evrc qdm2 "
    "qdmc nellymoser ape wavpack tta tak shorten als adpcm_ms adpcm_ima_wav adpcm_ima_qt adpcm_swf adpcm_yamaha "
    "adpcm_g722 g722 g723_1 g726 g726le g729 mace3 mace6 s302m truespeech"
)
VIDEO_CODECS, AUDIO_CODECS = frozenset(_VIDEO_CODECS.split()), frozenset(_AUDIO_CODECS.split())
"""Also any `pcm_…`. Checked by name here, because PyAV does not hand `codec_whitelist` to the decoders."""

SOUND_RATES_HZ = range(1_000, 768_001)
MAX_CHANNELS = 64
PULL_EVERY = 16
"""Frames of sound that wait to be resampled together: to hear that there is no more costs an exception each time."""
MAX_PIXEL_ASPECT = 8
RESIZED_IN_KIND = frozenset(
    {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "yuv420p10le", "yuv422p10le"}
)
"""Pixel formats kept as they are when a large frame is made small; any other becomes RGB at once."""
HELD_MAX_BYTES = 64 << 20
"""Packets that are held while nobody knows yet which are wanted; a file beyond that is decoded as it is read."""
ALIKE_BELOW = 12
"""Two frames are nearly identical where no sixty-fourth of the picture differs by this much of 255 on average."""


class Refused(Exception):
    """The file's fault. The parent turns it into a `MediaError`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What one file gave: facts for the JSON of the answer, and the bytes beside it."""

    about: dict[str, Any]
    raw: list[VideoPlane | bytearray]


def main(arguments: list[str], decode: Callable[[int, Plan], Decoded] | None = None) -> None:
    """Serve files until the channel closes. Tests pass a `decode` that misbehaves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    channel = socket.socket(fileno=int(arguments[0]))
    sandbox.die_with_parent(int(arguments[1]))
    plan = Plan.from_json(arguments[3])
    shared = mmap.mmap(int(arguments[2]), plan.max_raw_bytes)
    av.logging.set_level(None)
    _warm_up(plan)
    sandbox.limit_resources(
        extra_memory_bytes=plan.limits.extra_memory_bytes, cpu_s=2 * (plan.limits.max_cpu_s + 1) * plan.files + 10
    )
    send(channel, Kind.READY, {"layers": dict(sandbox.lock_down())})
    sys.excepthook = lambda kind, error, trace: _confess(channel, kind, error, trace)
    while True:
        asked, files, _, _ = socket.recv_fds(channel, len(REQUEST), 1)
        if not asked:
            return
        sandbox.limit_cpu(plan.limits.max_cpu_s)
        _answer(channel, shared, files[0], plan, decode or decode_file)


def decode_file(fd: int, plan: Plan) -> Decoded:
    """Decode the open file `fd` from its first to its last frame, without those that change nothing.

    Raises:
        Refused: nothing in it can be decoded, or it is beyond a limit.
    """
    try:
        return decode_once(fd, plan)
    except Unforeseen:
        sandbox.limit_cpu(plan.limits.max_cpu_s)  # as much as if it had not been tried; the wall clock goes on
        os.lseek(fd, 0, os.SEEK_SET)
        return decode_once(fd, plan, whole=True)


def decode_once(fd: int, plan: Plan, *, whole: bool = False) -> Decoded:
    """Decode every frame (`whole`), or what gives the same clip for less.

    Raises:
        Refused: nothing in it can be decoded, or it is beyond a limit.
        Unforeseen: it has to be decoded whole.
    """
    size = os.fstat(fd).st_size
    head = os.pread(fd, sniff.HEAD_BYTES, 0)
    if (words := sniff.text(head)) is not None:
        raise Refused(words, f"{size} bytes of text, a video or a sound wanted")
    if not plan.stills and (still := sniff.still_image(head)) is not None:
        raise Refused("still_image", f"a {still} picture, a video or a sound wanted")
    with _opened(fd, head, size, plan) as container:
        try:
            return _Reading(container, size, plan, whole=whole).decoded()
        except Refused as refused:
            broken = sniff.broken_boxes(head, size, partial(_read_at, fd)) if refused.reason == "no_streams" else None
            if broken is None:
                raise
            raise Refused(*broken) from refused


def _answer(
    channel: socket.socket, shared: mmap.mmap, fd: int, plan: Plan, decode: Callable[[int, Plan], Decoded]
) -> None:
    try:
        decoded = decode(fd, plan)
    except Refused as refused:
        send(channel, Kind.REFUSED, {"reason": refused.reason, "detail": refused.detail[:500]})
    except MemoryError as error:
        send(channel, Kind.REFUSED, {"reason": "memory_limit", "detail": f"{error}"[:500]})
    else:
        shared.seek(0)
        for part in decoded.raw:
            shared.write(memoryview(part))
        send(channel, Kind.CLIP, decoded.about, shared.tell())
    finally:
        os.close(fd)


def _confess(
    channel: socket.socket, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Say what ended us: there may be no stderr that we can write to."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"line {trace.tb_lineno} of {trace.tb_frame.f_code.co_name}" if trace else "nowhere"
    send(channel, Kind.BROKEN, {"reason": "child_died", "detail": f"{kind.__name__}: {error} ({where})"[:500]})


def _warm_up(plan: Plan) -> None:
    """Do everything once, so that nothing is imported or opened late, behind the walls."""
    frame = VideoFrame(64, 48, "yuv420p")
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    pictures = _Pictures(plan, _Clock(plan, rate=25.0), step_s=1.0, rotation_deg=0)
    pictures.offer(frame)
    pictures.about(pictures.finish(1.0))
    sound = AudioFrame("fltp", "stereo", 1024)
    sound.sample_rate, sound.pts, sound.time_base = 44_100, 0, Fraction(1, 44_100)
    for plane in sound.planes:
        plane.update(bytes(plane.buffer_size))
    listener = _Sound(plan)
    listener.offer(sound)
    listener.finish(0.0)
    Counter("ab").most_common(1)
    sniff.text(b"#EXTM3U")


def _opened(fd: int, head: bytes, size: int, plan: Plan) -> InputContainer:
    options = {
        "fd": str(fd),
        "protocol_whitelist": "fd",
        "format_whitelist": FORMATS + STILL_FORMATS if plan.stills else FORMATS,
        "max_pixels": str(plan.limits.max_pixels * 9 // 8),  # decoders count whole blocks
        "max_streams": str(plan.limits.max_streams * 8),
    }
    try:
        return av.open("fd:", options=options, metadata_errors="ignore")
    except av.error.MemoryError:
        raise
    except av.error.ArgumentError as error:
        raise Refused("format_not_allowed", f"{error.strerror}; first bytes {head[:8].hex(' ')}") from error
    except av.error.PatchWelcomeError as error:
        raise Refused("unsupported_feature", f"{error.strerror}; first bytes {head[:8].hex(' ')}") from error
    except av.error.FFmpegError as error:
        reason, detail = sniff.why_not_opened(head, size, partial(_read_at, fd))
        raise Refused(reason, f"{detail}; {error.strerror}") from error


def _read_at(fd: int, offset: int, count: int) -> bytes:
    return os.pread(fd, count, offset) if offset < 1 << 62 else b""


class _Reading:
    """One pass over an open file: over all of its frames, or without those that change nothing."""

    def __init__(self, container: InputContainer, size: int, plan: Plan, *, whole: bool) -> None:
        self._container = container
        self._size = size
        self._plan = plan
        self._damage: Counter[str] = Counter()
        self._packets = Counter[int]()
        self._check_header()
        self._video = self._choose_video()
        self._headers = None if whole else self._readable_headers()
        self._audio = self._choose_audio()
        if self._video is None and self._audio is None:
            self._refuse_streams()
        self._sound = _Sound(plan)
        self._pictures: _Pictures | None = None

    def decoded(self) -> Decoded:
        if self._headers is None:
            self._read_through()
        else:
            try:
                self._read_wanted(self._headers)
            except (Refused, MemoryError) as error:
                raise Unforeseen("beyond a limit; which one, whole decoding says") from error
        picture_end_s = self._pictures.end_s if self._pictures else 0.0
        first_s = self._pictures.first_s if self._pictures else None
        waveform = self._sound.finish(first_s)
        if self._pictures is None and not waveform:
            self._refuse_nothing()
        is_still = self._pictures and self._pictures.count == 1 and self._container.format.name in {"gif", "apng"}
        if is_still and not self._plan.stills:
            raise Refused("still_image", f"a {self._container.format.name} with a single frame")
        duration_s = max(picture_end_s, len(waveform) / 4 / self._plan.sample_rate_hz)
        declared_s = self._container.duration / 1e6 if self._container.duration else None
        facts: dict[str, Any] = {
            "container": self._container.format.name,
            "duration_s": duration_s,
            "declared_duration_s": declared_s if declared_s and declared_s > 0 else None,
            "truncated": "; ".join(f"{what} ({times} times)" for what, times in self._damage.most_common(3)) or None,
        }
        if waveform and self._audio:
            facts |= {
                "audio_codec": self._audio.codec_context.name,
                "audio_rate_hz": self._sound.rate_hz,
                "audio_channels": self._sound.channels,
            }
        about: dict[str, Any] = {"facts": facts, "frame_times_s": [], "text_frame_times_s": [], "samples": 0}
        about |= {"frame_shape": _shape([]), "text_frame_shape": _shape([])}
        raw: list[VideoPlane | bytearray] = [waveform]
        if self._pictures and self._video:
            facts |= {"video_codec": self._video.codec_context.name, **self._pictures.facts()}
            if self._plan.sampling == "fast":
                facts["frame_count"] = self._packets[self._video.index]
            taken = self._pictures.about(self._pictures.finish(picture_end_s))
            about |= taken.about
            raw += taken.raw
        about["samples"] = len(waveform) // 4
        return Decoded(about=about, raw=raw)

    def _check_header(self) -> None:
        limits = self._plan.limits
        streams = len(self._container.streams)
        if not streams:
            raise Refused("no_streams", f"a {self._container.format.name} of {self._size} bytes without a stream")
        if streams > limits.max_streams:
            raise Refused("too_many_streams", f"{streams} streams, {limits.max_streams} allowed")
        declared_s = (self._container.duration or 0) / 1e6
        if declared_s > limits.max_duration_s:
            raise Refused("too_long", f"the header claims {declared_s:.1f} s, {limits.max_duration_s:g} s allowed")
        for stream in self._container.streams.video:
            if stream.frames > limits.max_frames:
                raise Refused("too_many_frames", f"the header claims {stream.frames}, {limits.max_frames} allowed")
            if stream.codec_context is not None:
                _check_size(stream.codec_context.width, stream.codec_context.height, self._plan)

    def _choose_video(self) -> VideoStream | None:
        """The default picture, else the first; never the cover of a record."""
        codecs = VIDEO_CODECS | STILL_CODECS if self._plan.stills else VIDEO_CODECS
        streams = [
            stream
            for stream in self._container.streams.video
            if stream.codec_context is not None
            and stream.codec_context.name in codecs
            and not stream.disposition & Disposition.attached_pic
        ]
        if not streams:
            return None
        stream = next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])
        stream.codec_context.thread_type = "NONE"  # frame threads can deadlock: PyAV#1962
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(self._plan.limits.max_pixels * 9 // 8)}
        if self._plan.sampling == "fast":
            stream.codec_context.skip_frame = "NONREF"
        return stream

    def _readable_headers(self) -> Packets | None:
        """What reads the packets of the picture ahead of decoding; None: every frame is decoded."""
        if self._video is None or self._plan.sampling != "full" or self._size > HELD_MAX_BYTES:
            return None
        context = self._video.codec_context
        try:
            headers = Packets(context.name, context.extradata)
        except Unforeseen:
            return None
        context.options = {**context.options, "err_detect": "explode"}  # damage is not to be painted over
        return headers

    def _choose_audio(self) -> AudioStream | None:
        streams = [
            stream
            for stream in self._container.streams.audio
            if stream.codec_context is not None
            and (stream.codec_context.name in AUDIO_CODECS or stream.codec_context.name.startswith("pcm_"))
        ]
        stream = next((stream for stream in streams if stream.disposition & Disposition.default), None)
        stream = stream or next(iter(streams), None)
        if stream is not None:
            stream.codec_context.thread_count = 1
        return stream

    def _refuse_streams(self) -> None:
        kinds = [f"{stream.type} {_codec_name(stream)}" for stream in self._container.streams]
        if any(stream.disposition & Disposition.attached_pic for stream in self._container.streams):
            raise Refused("no_streams", f"a cover picture and nothing to see or hear: {', '.join(kinds)}")
        if any(stream.type in {"video", "audio"} for stream in self._container.streams):
            raise Refused("unknown_codec", f"no decoder for any of: {', '.join(kinds)}")
        raise Refused("no_streams", f"no picture and no sound, only {', '.join(kinds)}")

    def _first_step_s(self, width: int, height: int) -> float:
        """How long slices are to begin with: exact where the header can be believed, finer where it cannot.

        Only frames that have to be made smaller cost anything to keep; the others are kept freely.
        """
        index = self._index_duration_s()
        stream = self._video
        assert stream is not None
        if stream.duration and stream.time_base:
            declared_s = float(stream.duration * stream.time_base)
        else:
            declared_s = (self._container.duration or 0) / 1e6
        if index is not None and abs(index - declared_s) * 2 * self._plan.frame_count < declared_s:
            return index / self._plan.frame_count
        if declared_s <= 0 or max(width, height) <= self._plan.text_long_side_px:
            return UNKNOWN_STEP_S
        return declared_s / (3 * self._plan.frame_count)

    def _index_duration_s(self) -> float | None:
        """The length of the picture by the list of its samples that an MP4 has; None: no such list, or it lies."""
        assert self._video is not None
        index, time_base = self._video.index_entries, self._video.time_base
        if "mp4" not in self._container.format.name or len(index) < 2 or time_base is None:
            return None
        first, last = index[0], index[len(index) - 1]
        if last.pos + last.size > self._size:
            self._damage["file_ends_early"] += 1
            return None
        return float((last.timestamp - first.timestamp) * time_base) * len(index) / (len(index) - 1)

    def _read_through(self) -> None:
        for packet in self._packets_of(self._streams()):
            self._count(packet)
            self._decode(packet)

    def _read_wanted(self, headers: Packets) -> None:
        """Read all packets first, and then decode without the pictures that nobody wants and nothing refers to.

        Raises:
            Unforeseen: something is not as it has to be for the clip to be the same.
        """
        assert self._video is not None
        premises = self._premises()
        if self._damage:
            raise Unforeseen("the file ends early")
        held = self._held(self._video)
        if premises != self._premises():
            raise Unforeseen("the header grew while the file was read")
        outlook = self._outlook(held, headers, premises)
        context = self._video.codec_context
        while held:
            packet = held.popleft()
            context.skip_frame = "NONREF" if outlook.skipped.popleft() else "DEFAULT"
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError) as error:
                raise Unforeseen(_words_of(error)) from error
            for frame in frames:
                if frame.is_corrupt or (frame.width, frame.height) != premises.size_px:
                    raise Unforeseen("a damaged frame, or one of another size")
                self._see(frame, outlook)
        outlook.clock.check_complete()
        if self._pictures is None or self._pictures.end_s != outlook.end_s:
            raise Unforeseen("the last frame is shown for another time than its packet said")

    def _premises(self) -> _Premises:
        assert self._video is not None
        width, height = self._video.codec_context.width, self._video.codec_context.height
        return _Premises(
            self._first_step_s(width, height), self._rate(), self._video.sample_aspect_ratio, (width, height)
        )

    def _held(self, video: VideoStream) -> deque[Any]:
        """All packets of the picture, the last of them empty; the sound is decoded on the way."""
        held: deque[Any] = deque()
        held_bytes = 0
        try:
            for packet in self._container.demux(*self._streams()):
                self._count(packet)
                if packet.stream is not video:
                    self._decode(packet)
                    continue
                held_bytes += packet.size
                if held_bytes > HELD_MAX_BYTES or len(held) > self._plan.limits.max_frames:
                    raise Unforeseen(f"{len(held)} packets of {held_bytes} bytes")
                if held and not held[-1].size:
                    raise Unforeseen("an empty packet")
                if packet.is_corrupt or packet.has_sidedata("new_extradata") or packet.has_sidedata("param_change"):
                    raise Unforeseen("a damaged packet, or another stream from here on")
                held.append(packet)
        except av.error.FFmpegError as error:
            raise Unforeseen(_words_of(error)) from error
        if len(held) < 2 or held[-1].size:
            raise Unforeseen("no picture")
        return held

    def _outlook(self, held: Collection[Any], headers: Packets, premises: _Premises) -> _Outlook:
        """Go through the times of all frames, as if they had been decoded."""
        assert self._video is not None
        packets = list(held)[:-1]
        pictures = [headers.picture(memoryview(packet)) for packet in packets]
        pts = check_order([packet.pts for packet in packets], pictures, self._video.codec_context.reorder_depth)
        shown = sorted((number, at) for at, number in enumerate(pts) if not packets[at].is_discard)
        if not shown:
            raise Unforeseen("nothing is shown")
        clock = _Clock(self._plan, premises.rate)
        picker = SlicePicker[int, int](count=self._plan.frame_count, step_s=premises.step_s, keep=int)
        for number, at in shown:
            picker.offer(clock.tell(_time_s(number, packets[at].time_base)), at)
        last = packets[shown[-1][1]]
        end_s = clock.end_s(last.duration, last.time_base)
        chosen = picker.finish(end_s)
        wanted = {shown[0][1], shown[-1][1], *(at for _, at in chosen)}  # facts are taken from the first and the last
        skipped = [idle and at not in wanted for at, idle in enumerate(spare(pictures))]
        coming = [
            (_time_s(number, packets[at].time_base), time_s)
            for (number, at), time_s in zip(shown, clock.times_s, strict=True)
            if not skipped[at]
        ]
        return _Outlook(
            skipped=deque([*skipped, False]),
            chosen_s=frozenset(time_s for time_s, _ in chosen),
            end_s=end_s,
            clock=_ForetoldClock(clock, coming),
        )

    def _streams(self) -> list[Any]:
        return [stream for stream in (self._video, self._audio) if stream is not None]

    def _count(self, packet: Any) -> None:
        first = not self._packets[packet.stream_index]
        if first and packet.has_sidedata("encryption_info"):  # some of it may decode, to noise
            raise Refused("encrypted", f"{_codec_name(packet.stream)}; a key would be wanted")
        self._packets[packet.stream_index] += packet.size > 0

    def _decode(self, packet: Any) -> None:
        try:
            frames = packet.decode()
        except av.error.MemoryError:
            raise
        except (av.error.FFmpegError, ValueError) as error:
            self._damage[f"{packet.stream.type} {_words_of(error)}"] += 1
            return
        for frame in frames:
            if isinstance(frame, VideoFrame):
                self._see(frame)
            elif isinstance(frame, AudioFrame):
                self._hear(frame)

    def _packets_of(self, streams: list[Any]) -> Iterator[Any]:
        """Every packet; where reading breaks off, what the decoders still hold is fetched all the same."""
        try:
            yield from self._container.demux(*streams)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:
            self._damage[f"file {_words_of(error)}"] += 1
            for stream in streams:
                flush = av.Packet()
                flush.stream = stream
                yield flush

    def _see(self, frame: VideoFrame, outlook: _Outlook | None = None) -> None:
        _check_size(frame.width, frame.height, self._plan)
        if self._pictures is None:
            assert self._video is not None
            self._pictures = _Pictures(
                self._plan,
                outlook.clock if outlook else _Clock(self._plan, self._rate()),
                step_s=UNKNOWN_STEP_S if outlook else self._first_step_s(frame.width, frame.height),
                chosen_s=outlook.chosen_s if outlook else None,
                rotation_deg=-round(frame.rotation / 90) * 90 % 360,
                pixel_aspect=self._video.sample_aspect_ratio,
            )
        self._pictures.offer(frame)

    def _rate(self) -> float:
        assert self._video is not None
        return float(self._video.average_rate or self._video.guessed_rate or 25)

    def _hear(self, frame: AudioFrame) -> None:
        try:
            self._sound.offer(frame)
        except av.error.MemoryError:
            raise
        except (av.error.FFmpegError, ValueError) as error:
            self._damage[f"sound {_words_of(error)}"] += 1

    def _refuse_nothing(self) -> None:
        claims = ", ".join(f"{stream.type} {_codec_name(stream)}" for stream in self._container.streams)
        if any("enc_key_id" in stream.metadata for stream in self._container.streams):
            raise Refused("encrypted", f"{claims}; a key would be wanted")
        if not self._packets.total():
            raise Refused("media_empty", f"{claims}; not one packet in it")
        failures = "; ".join(f"{what} ({times} times)" for what, times in self._damage.most_common(3))
        if failures:
            raise Refused("undecodable", f"{claims}; none of {self._packets.total()} packets: {failures}")
        raise Refused("no_frames", f"{claims}; {self._packets.total()} packets, and nothing came out")


class _Premises(NamedTuple):
    """What is asked of the header when the first frame comes; reading on adds to it where a file is in fragments."""

    step_s: float
    rate: float
    pixel_aspect: Fraction | None
    size_px: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outlook:
    """What is known of the pictures before the first is decoded."""

    skipped: deque[bool]
    """For each packet, in the order of decoding: nobody wants it, and nothing refers to it."""
    chosen_s: frozenset[float]
    """When the frames are shown that stand for the video."""
    end_s: float
    clock: _ForetoldClock


class _Clock:
    """Tells when frames are shown, in seconds from the first of them, and ends what goes on for too long."""

    def __init__(self, plan: Plan, rate: float) -> None:
        self._limits = plan.limits
        self._interval_s = 1 / rate if 0 < rate <= 1000 else 0.04
        self.times_s: list[float] = []
        self.first_s: float | None = None

    def tell(self, time_s: float | None) -> float:
        """When the next frame is shown. One without a believable time follows the one before it."""
        told_s = self._next_s(time_s)
        if told_s > self._limits.max_duration_s:
            raise Refused("too_long", f"a frame at {told_s:.1f} s, {self._limits.max_duration_s:g} s allowed")
        if len(self.times_s) >= self._limits.max_frames:
            raise Refused("too_many_frames", f"more than {self._limits.max_frames} frames")
        self.times_s.append(told_s)
        return told_s

    def end_s(self, duration: int | None, time_base: Fraction | None) -> float:
        """When the last frame has been shown for as long as it asks for, or as frames are usually shown."""
        interval_s = self._interval_s
        if duration and time_base:
            interval_s = min(float(duration * time_base), self._limits.max_duration_s)
        return self.times_s[-1] + interval_s

    def _next_s(self, time_s: float | None) -> float:
        if self.first_s is None:
            self.first_s = time_s or 0.0
            return 0.0
        before_s = self.times_s[-1]
        if time_s is None or not 1e-4 < time_s - self.first_s - before_s <= self._limits.max_duration_s:
            return before_s + self._interval_s
        return time_s - self.first_s


class _ForetoldClock(_Clock):
    """Knows when every frame is shown, also those that never come, and which ones come.

    Args:
        clock: it was told all times.
        coming: (as the frame will say, as `clock` told it) of the frames that are decoded.
    """

    def __init__(self, clock: _Clock, coming: Iterable[tuple[float, float]]) -> None:
        self._limits, self._interval_s = clock._limits, clock._interval_s
        self.times_s, self.first_s = clock.times_s, clock.first_s
        self._coming = deque(coming)

    def tell(self, time_s: float | None) -> float:
        if not self._coming or self._coming[0][0] != time_s:
            raise Unforeseen(f"a frame at {time_s}")
        return self._coming.popleft()[1]

    def check_complete(self) -> None:
        if self._coming:
            raise Unforeseen(f"{len(self._coming)} frames did not come")


class _Pictures:
    """Picks frames, makes them small, and measures while they pass.

    Args:
        plan: the sizes wanted.
        clock: tells when each frame is shown.
        step_s: how long slices are to begin with.
        rotation_deg: the clockwise turn that the player is told to make.
        pixel_aspect: width of a pixel by its height.
        chosen_s: which frames to keep, where that is known; no slices are made then.
    """

    def __init__(
        self,
        plan: Plan,
        clock: _Clock,
        *,
        step_s: float,
        rotation_deg: int,
        pixel_aspect: Fraction | None = None,
        chosen_s: Collection[float] | None = None,
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._picker: SlicePicker[VideoFrame, VideoFrame] | ChosenPicker[VideoFrame, VideoFrame]
        if chosen_s is None:
            self._picker = SlicePicker(count=plan.frame_count, step_s=step_s, keep=self._hold)
        else:
            self._picker = ChosenPicker(chosen_s, keep=self._hold)
        self._rotation_deg = rotation_deg
        self._pixel_aspect = _believable(pixel_aspect)
        self._small = self._text = (0, 0)
        self._shown = (0, 0)
        self._pixel_format = ""
        self._last: VideoFrame | None = None
        self._to_hold, self._to_small, self._to_text, self._to_look = (VideoReformatter() for _ in range(4))

    @property
    def count(self) -> int:
        return len(self._clock.times_s)

    @property
    def first_s(self) -> float | None:
        return self._clock.first_s

    @property
    def end_s(self) -> float:
        assert self._last is not None
        return self._clock.end_s(self._last.duration, self._last.time_base)

    def offer(self, frame: VideoFrame) -> None:
        time_s = self._clock.tell(frame.time)
        if self._last is None:
            self._set_sizes(frame)
        self._last = frame
        self._picker.offer(time_s, frame)

    def finish(self, end_s: float) -> list[tuple[float, VideoFrame]]:
        return self._picker.finish(end_s)

    def facts(self) -> dict[str, Any]:
        width, height = self._shown
        if self._rotation_deg % 180:
            width, height = height, width
        return {
            "width": width,
            "height": height,
            "fps": self.count / self.end_s if self.end_s > 0 else 0.0,
            "frame_count": self.count,
            "rotation_deg": self._rotation_deg,
            "variable_frame_rate": _varies(self._clock.times_s),
            "pixel_format": self._pixel_format,
        }

    def about(self, kept: list[tuple[float, VideoFrame]]) -> Decoded:
        """Draw the kept frames in both sizes. They are not turned yet: that is cheaper in numpy, in the parent."""
        small = [self._drawn(self._to_small, frame, self._small) for _, frame in kept]
        readable = [kept[index] for index in self._distinct([frame for _, frame in kept])]
        text = [self._drawn(self._to_text, frame, self._text) for _, frame in readable]
        about = {
            "frame_shape": _shape(small),
            "frame_times_s": [time_s for time_s, _ in kept],
            "text_frame_shape": _shape(text),
            "text_frame_times_s": [time_s for time_s, _ in readable],
        }
        return Decoded(about=about, raw=[*small, *text])

    def _set_sizes(self, frame: VideoFrame) -> None:
        width, height = float(frame.width * self._pixel_aspect), float(frame.height)
        self._shown = (round(width), round(height))
        self._pixel_format = frame.format.name
        plan = self._plan
        scale = plan.short_side_px / min(width, height)
        self._small = (_side(width * scale, plan.long_side_max_px), _side(height * scale, plan.long_side_max_px))
        scale = min(1.0, plan.text_long_side_px / max(width, height))
        self._text = (_side(width * scale, plan.text_long_side_px), _side(height * scale, plan.text_long_side_px))

    def _hold(self, frame: VideoFrame) -> VideoFrame:
        """Keep a small frame as it is, a large one no larger than text is read in: 48 of them may gather."""
        if max(frame.width, frame.height) <= self._plan.text_long_side_px:
            return frame
        kind = frame.format.name if frame.format.name in RESIZED_IN_KIND else "rgb24"
        width, height = self._text
        return self._to_hold.reformat(frame, width=width, height=height, format=kind, threads=1)

    def _drawn(self, reformatter: VideoReformatter, frame: VideoFrame, size: tuple[int, int]) -> VideoPlane:
        return reformatter.reformat(frame, width=size[0], height=size[1], format="rgb24", threads=1).planes[0]

    def _distinct(self, frames: list[VideoFrame]) -> list[int]:
        """Choose frames that differ: begin in the middle, then whatever is least like those chosen."""
        if not self._plan.text_frame_count:
            return []
        looks = [self._look(frame) for frame in frames]
        chosen = [len(frames) // 2]
        nearest = [_difference(look, looks[chosen[0]]) for look in looks]
        while len(chosen) < self._plan.text_frame_count and max(nearest) >= ALIKE_BELOW:
            chosen.append(nearest.index(max(nearest)))
            nearest = [
                min(known, _difference(look, looks[chosen[-1]])) for known, look in zip(nearest, looks, strict=True)
            ]
        return sorted(chosen)

    def _look(self, frame: VideoFrame) -> list[int]:
        """The brightness of a frame in 8 x 8 fields, each the sum of 64 points: averages would cost five times that."""
        look = self._to_look.reformat(frame, width=64, height=64, format="gray", interpolation="POINT", threads=1)
        line, points = look.planes[0].line_size, bytes(look.planes[0])
        fields = [0] * 64
        for row in range(64):
            for field in range(8):
                start = row * line + field * 8
                fields[row // 8 * 8 + field] += sum(points[start : start + 8])
        return fields


class _Sound:
    """Gathers the sound of one file as 16 kHz mono."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._graph: Graph | None = None
        self._key: tuple[str, str, int] | None = None
        self._gathered = bytearray()
        self._first_s: float | None = None
        self._waiting = 0
        self.rate_hz = 0
        self.channels = 0

    def offer(self, frame: AudioFrame) -> None:
        key = (frame.format.name, frame.layout.name, frame.sample_rate)
        if key != self._key:
            self._flush()
            self._open(frame)
            self._key = key
        if self._first_s is None:
            self._first_s = frame.time or 0.0
        assert self._graph is not None
        self._graph.push(frame)
        self._waiting += 1
        if self._waiting >= PULL_EVERY:
            self._pull()
        if len(self._gathered) > self._plan.max_samples * 4:
            raise Refused("too_long", f"more sound than {self._plan.limits.max_duration_s:g} s")

    def finish(self, zero_s: float | None) -> bytearray:
        """Return float32 samples from the time `zero_s` on, the first frame; None: from where the sound begins."""
        self._flush()
        if zero_s is not None and self._first_s is not None and self._gathered:
            late = round((self._first_s - zero_s) * self._plan.sample_rate_hz)
            late = min(late, self._plan.max_samples - len(self._gathered) // 4)
            if late > 0:
                return bytearray(late * 4) + self._gathered
            return self._gathered[-late * 4 :]
        return self._gathered

    def _open(self, frame: AudioFrame) -> None:
        self.rate_hz, self.channels = frame.sample_rate, frame.layout.nb_channels
        if self.rate_hz not in SOUND_RATES_HZ or not 0 < self.channels <= MAX_CHANNELS:
            raise ValueError(f"{self.channels} channels at {self.rate_hz} Hz")
        self._graph = Graph()
        self._graph.threads = 1
        source = self._graph.add(
            "abuffer",
            sample_rate=str(frame.sample_rate),
            sample_fmt=frame.format.name,
            channel_layout=frame.layout.name,
            time_base=f"1/{frame.sample_rate}",
        )
        wanted = self._graph.add(
            "aformat", sample_rates=str(self._plan.sample_rate_hz), sample_fmts="flt", channel_layouts="mono"
        )
        sink = self._graph.add("abuffersink")
        source.link_to(wanted)
        wanted.link_to(sink)
        self._graph.configure()

    def _flush(self) -> None:
        if self._graph is not None and self._key is not None:
            self._graph.push(None)
            self._pull()
        self._graph = self._key = None

    def _pull(self) -> None:
        assert self._graph is not None
        self._waiting = 0
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(frame, AudioFrame)
            self._gathered += memoryview(frame.planes[0])[: frame.samples * 4]


def _check_size(width: int, height: int, plan: Plan) -> None:
    limits = plan.limits
    if width * height > limits.max_pixels or max(width, height) > limits.max_side_px:
        raise Refused(
            "too_many_pixels",
            f"{width} x {height}, {limits.max_pixels} pixels and {limits.max_side_px} a side allowed",
        )


def _codec_name(stream: Any) -> str:
    return str(stream.codec_context.name) if stream.codec_context is not None else "unknown"


def _time_s(pts: int, time_base: Fraction) -> float:
    """As PyAV works out `frame.time`, to the last bit."""
    return float(pts) * time_base.numerator / time_base.denominator


def _words_of(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)[:80]


def _believable(pixel_aspect: Fraction | None) -> Fraction:
    if pixel_aspect is None or not Fraction(1, MAX_PIXEL_ASPECT) <= pixel_aspect <= MAX_PIXEL_ASPECT:
        return Fraction(1)
    return pixel_aspect


def _side(length_px: float, most_px: int) -> int:
    return max(1, min(round(length_px), most_px))


def _shape(planes: list[VideoPlane]) -> list[int]:
    """Height, width, and bytes from line to line: lines are padded, and numpy skips that for free."""
    return [planes[0].height, planes[0].width, planes[0].line_size] if planes else [0, 0, 0]


def _difference(look: list[int], other: list[int]) -> int:
    return max(abs(a - b) for a, b in zip(look, other, strict=True)) // 64


def _varies(times_s: list[float]) -> bool:
    """More than one in fifty intervals is a quarter off the usual one (and 2 ms: timestamps are often rounded to 1)."""
    intervals = [after - before for before, after in pairwise(times_s)]
    if len(intervals) < 2:
        return False
    usual = statistics.median(intervals)
    off = sum(abs(interval - usual) > max(usual / 4, 0.002) for interval in intervals)
    return off * 50 > len(intervals)


if __name__ == "__main__":
    main(sys.argv[1:])
