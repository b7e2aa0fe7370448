"""A query becomes vectors: a file that is not in the library, or words. Nothing is stored.

A file goes the way of an upload (decode, encode, mix of texts), so that it is compared like with like. Words are
encoded as text, and as the place in the space of vision where a picture of them would lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.records import Space
from ingest.chunk_decode import Decoder
from ingest.encode import Encoders, TextEncoder, analyse
from ingest.fuse import TEXT_CHANNELS, mix

Vectors = Mapping[str, NDArray[np.float32]]


def of_file(path: Path, decoder: Decoder, encoders: Encoders, space: Space) -> Vectors:
    """Return the modality vectors of a video, picture or sound.

    Args:
        decoder: a pool that takes still pictures too, if the file may be one.

    Raises:
        MediaError: the file is at fault.
    """
    clip = decoder.decode(path)
    (analysis,) = analyse([("query", clip)], encoders, space.id, thumbnails=[None])
    vectors = {name: analysis.vectors[name] for name in ("vision", "sound") if name in analysis.vectors}
    texts = {channel: analysis.vectors[channel] for channel in TEXT_CHANNELS if channel in analysis.vectors}
    if texts:
        vectors["text"] = mix(texts, space.spec["text_shares"])
    return vectors


def of_words(text: str, encoder: TextEncoder, space: Space) -> Vectors:
    """Return the modality vectors of a sentence.

    Raises:
        ValueError: there is nothing to read in it.
    """
    row = encoder.encode([text])
    vectors = {"text": row[0]}
    if "vision" in space.dims:
        vectors["vision"] = encoder.as_vision(row)[0]
    return vectors
