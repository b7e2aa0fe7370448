"""Fuse: an upload and what its bytes say become one row with one vector.

Separately trained encoders must not be added up: their axes mean different things. Laid end to end, each scaled by
the root of its weight, they give one vector whose dot product with another is the weighted sum of the cosines:

    fused(a) · fused(b) = Σ √wₘ aₘ · √wₘ bₘ = Σ wₘ cos(aₘ, bₘ)        over the modalities m that both have

Text is the exception: caption, hashtags, tags, on-screen text and transcript pass through the *same* encoder, so their
vectors live in one space and are mixed into one, each with its share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index.records import MODALITIES, PRESENT, Analysis, Space, Upload, Video

TEXT_CHANNELS = ("caption", "hashtags", "tags", "onscreen", "transcript")


class TextEncoder(Protocol):
    """What fusing needs: sentences in, unit rows out, in the same order; and hashtags as a sentence."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]: ...
    def spell_out(self, hashtags: Sequence[str]) -> str: ...


def fuse(pairs: Sequence[tuple[Upload, Analysis]], text: TextEncoder, space: Space) -> list[Video]:
    """Make the rows of many uploads at once; what their creators wrote is encoded in one batch.

    Args:
        pairs: each upload with the analysis of its bytes in `space`.
        text: encodes captions and hashtags.
        space: holds the weights of the modalities and, in `spec["text_shares"]`, the shares of the texts.

    Returns:
        A `Video` a pair, in the same order.
    """
    written = [_written(upload, text) for upload, _ in pairs]
    sentences = [sentence for parts in written for sentence in parts.values()]
    rows = iter(text.encode(sentences)) if sentences else iter(())
    encoded = [{channel: next(rows) for channel in parts} for parts in written]
    return [_fuse(upload, analysis, words, space) for (upload, analysis), words in zip(pairs, encoded, strict=True)]


def _written(upload: Upload, text: TextEncoder) -> dict[str, str]:
    """The channels of text that a creator wrote, as sentences; empty ones are left out."""
    said = {"caption": upload.caption.strip(), "hashtags": text.spell_out(upload.hashtags)}
    return {channel: sentence for channel, sentence in said.items() if sentence}


def _fuse(upload: Upload, analysis: Analysis, words: Mapping[str, NDArray[np.float32]], space: Space) -> Video:
    parts = {channel: analysis.vectors[channel] for channel in TEXT_CHANNELS if channel in analysis.vectors}
    parts |= words
    vectors = {name: analysis.vectors[name] for name in ("vision", "sound") if name in analysis.vectors}
    mask = dict(analysis.mask)
    mask |= {channel: PRESENT if channel in words else f"no_{channel}" for channel in ("caption", "hashtags")}
    if parts:
        vectors["text"] = mix(parts, space.spec["text_shares"])
    mask["text"] = PRESENT if parts else "no_words"
    return Video(
        upload=upload,
        space=space.id,
        vectors=vectors,
        fused=lay_end_to_end(vectors, space.dims, space.weights),
        mask=mask,
        tags=analysis.tags,
        onscreen_text=analysis.onscreen_text,
        transcript=analysis.transcript,
        speech_segments_s=analysis.speech_segments_s,
        signals=analysis.signals,
        facts=analysis.facts,
        thumbnail_sha256=analysis.thumbnail_sha256,
    )


def mix(parts: Mapping[str, NDArray[np.float32]], shares: Mapping[str, float]) -> NDArray[np.float32]:
    """Return the unit vector of the parts' weighted sum: vectors of one encoder, each with its share.

    >>> mix({"caption": np.array([1, 0], np.float32), "tags": np.array([0, 1], np.float32)},
    ...     {"caption": 4.0, "tags": 3.0})
    array([0.8, 0.6], dtype=float32)
    """
    mixed = np.sum([shares[channel] * parts[channel] for channel in sorted(parts)], axis=0, dtype=np.float64)
    length = np.linalg.norm(mixed)
    if length < 1e-6:  # exact opposites: no encoder of language gives them, but nothing here may divide by zero
        return parts[max(parts, key=lambda channel: shares[channel])]
    return np.asarray(mixed / length, dtype=np.float32)


def lay_end_to_end(
    vectors: Mapping[str, NDArray[np.float32]], dims: Mapping[str, int], weights: Mapping[str, float]
) -> NDArray[np.float32]:
    """Return the fused vector, (sum of dims,): modalities in the order of `MODALITIES`, zeros where one is absent.

    >>> heard = {"sound": np.array([0, 1], np.float32)}
    >>> lay_end_to_end(heard, {"vision": 1, "sound": 2}, {"vision": 0.75, "sound": 0.25})
    array([0. , 0. , 0.5], dtype=float32)
    """
    parts = [
        np.sqrt(weights[name]) * vectors[name] if name in vectors else np.zeros(dims[name])
        for name in MODALITIES
        if name in dims
    ]
    return np.concatenate(parts).astype(np.float32)
