"""Draws small media whose truth is known. Only tests use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RED, BLUE, GREEN, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255), (0, 0, 0)
Colour = tuple[int, int, int]


def plain(colour: Colour, width: int = 160, height: int = 120) -> NDArray[np.uint8]:
    """A picture of one colour, (height, width, 3)."""
    return np.full((height, width, 3), colour, dtype=np.uint8)


def tone(hz: float, seconds: float, rate_hz: int = 44_100, level: float = 0.5) -> NDArray[np.float32]:
    """A sine, (samples,)."""
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def write_media(
    path: Path,
    *,
    draw: Callable[[float], NDArray[np.uint8]] | None = None,
    seconds: float = 2.0,
    fps: int = 10,
    times_s: Sequence[float] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation_deg: int = 0,
    pixel_aspect: Fraction | None = None,
    sound: NDArray[np.float32] | None = None,
    sound_rate_hz: int = 44_100,
    sound_codec: str = "aac",
    container: str = "mp4",
) -> Path:
    """Write a video, a sound or both.

    Args:
        draw: second -> picture (height, width, 3); None: no picture.
        times_s: when each frame is shown; None: `fps` of them a second.
        rotation_deg: clockwise turn that the player is told to make.
        sound: mono samples; None: silent.
    """
    with av.open(str(path), "w", format=container) as out:
        video = audio = None
        if draw is not None:
            first = draw(0.0)
            video = out.add_stream(codec, rate=fps)
            video.width, video.height, video.pix_fmt = first.shape[1], first.shape[0], pixel_format
            video.codec_context.time_base = Fraction(1, 1000)
            if pixel_aspect is not None:
                video.codec_context.sample_aspect_ratio = pixel_aspect
            if rotation_deg:
                video.set_display_rotation(-rotation_deg)
        if sound is not None:
            audio = out.add_stream(sound_codec, rate=sound_rate_hz)
            audio.codec_context.layout = "mono"
        if video is not None and draw is not None:
            for time_s in times_s if times_s is not None else np.arange(0, seconds, 1 / fps):
                frame = av.VideoFrame.from_ndarray(draw(float(time_s)), format="rgb24")
                frame.pts, frame.time_base = round(float(time_s) * 1000), Fraction(1, 1000)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        if audio is not None and sound is not None:
            samples = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            samples.sample_rate, samples.pts = sound_rate_hz, 0
            samples.time_base = Fraction(1, sound_rate_hz)
            for frame in av.AudioResampler(format=audio.codec_context.format.name, layout="mono").resample(samples):
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path
