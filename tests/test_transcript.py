"""Transcripts, with tiny Whisper checkpoints whose answer is known: whatever they hear, they recite their lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from encoders import models
from encoders.transcript import SAMPLE_RATE_HZ, Said, Transcript, pack

WIDTH = 64
DIMS = {
    **dict.fromkeys(("n_audio_state", "n_text_state"), WIDTH),
    **dict.fromkeys(("n_audio_head", "n_text_head", "n_audio_layer", "n_text_layer"), 1),
    "n_mels": 80,
    "n_audio_ctx": 1_500,
    "n_text_ctx": 448,
    "n_vocab": 51_865,  # multilingual
}
Parrot = Callable[..., Path]


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Parrot:
    """Return a maker of checkpoints that recite `text` in `language`, from 0 s to 2 s, with `certainty`."""
    torch = pytest.importorskip("torch")
    from whisper.model import ModelDimensions, Whisper
    from whisper.tokenizer import get_tokenizer

    def make(text: str, *, language: str = "fr", certainty: float = 4.0) -> Path:
        tokenizer = get_tokenizer(multilingual=True, num_languages=99, language=language, task="transcribe")
        lines = [
            *tokenizer.sot_sequence[1:],  # what follows the start: language, task
            tokenizer.timestamp_begin,
            *tokenizer.encode(text),
            tokenizer.timestamp_begin + 100,  # 2 s
            tokenizer.eot,
        ]
        weights = Whisper(ModelDimensions(**DIMS)).state_dict()
        for name, tensor in weights.items():
            if name != "encoder.positional_embedding":
                tensor.fill_(1.0 if "ln" in name and name.endswith("weight") else 0.0)
        # Each place in the text owns one coordinate; the token to say there is the one whose embedding shares it.
        for place, token in enumerate(lines):
            weights["decoder.positional_embedding"][place, place] = 40.0
            weights["decoder.token_embedding.weight"][token, place] = certainty
        path = tmp_path_factory.mktemp("whisper") / "parrot.pt"
        torch.save({"dims": DIMS, "model_state_dict": weights}, path)
        return path

    return make


def sound(duration_s: float) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.1, int(duration_s * SAMPLE_RATE_HZ)).astype(np.float32)


def test_what_is_said_has_its_text_language_and_time(parrot: Parrot) -> None:
    transcription = Transcript(parrot(" bonjour tout le monde")).transcribe(sound(12.0), [(5.0, 9.0)])
    assert transcription.text == "bonjour tout le monde"
    assert transcription.language == "fr"
    assert transcription.said == (Said(begin_s=5.0, end_s=7.0, text="bonjour tout le monde"),)
    assert transcription.dropped == ()


def test_only_the_given_segments_are_looked_at(parrot: Parrot) -> None:
    poisoned = np.full(12 * SAMPLE_RATE_HZ, np.nan, np.float32)
    poisoned[5 * SAMPLE_RATE_HZ : 9 * SAMPLE_RATE_HZ] = sound(4.0)
    assert Transcript(parrot(" bonjour")).transcribe(poisoned, [(5.0, 9.0)]).text == "bonjour"


def test_without_speech_nothing_is_said(parrot: Parrot) -> None:
    transcription = Transcript(parrot(" bonjour")).transcribe(sound(3.0), [])
    assert (transcription.text, transcription.language, transcription.said) == ("", None, ())


def test_repetition_is_dropped_with_its_reason(parrot: Parrot) -> None:
    transcription = Transcript(parrot(" la" * 40)).transcribe(sound(4.0), [(0.0, 4.0)])
    assert (transcription.text, transcription.language) == ("", None)
    [(stretch, reason)] = transcription.dropped
    assert reason == "repetitive"
    assert stretch.text.startswith("la la la")


def test_doubtful_words_are_dropped_with_their_reason(parrot: Parrot) -> None:
    transcription = Transcript(parrot(" bonjour", certainty=1.0)).transcribe(sound(4.0), [(0.0, 4.0)])
    assert transcription.said == ()
    assert [reason for _, reason in transcription.dropped] == ["doubtful"]


def test_the_same_sound_gives_the_same_text_from_many_threads(parrot: Parrot) -> None:
    transcript = Transcript(parrot(" bonjour"))
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda _: transcript.transcribe(sound(2.0), [(0.0, 2.0)]).text, range(6)))
    assert texts == ["bonjour"] * 6


def test_packing_keeps_the_speech_and_finds_its_times_again() -> None:
    waveform = np.arange(10 * SAMPLE_RATE_HZ, dtype=np.float32)
    packed = pack(waveform, [(1.0, 2.0), (6.0, 7.5)])
    assert len(packed.waveform) == round((1.0 + 0.3 + 1.5 + 0.3) * SAMPLE_RATE_HZ)
    np.testing.assert_array_equal(packed.waveform[:SAMPLE_RATE_HZ], waveform[SAMPLE_RATE_HZ : 2 * SAMPLE_RATE_HZ])
    assert packed.waveform[round(1.3 * SAMPLE_RATE_HZ)] == 6 * SAMPLE_RATE_HZ
    assert [packed.source_s(at) for at in (0.0, 0.5, 1.1, 1.3, 2.3, 9.0)] == pytest.approx([1, 1.5, 2, 6, 7, 7.5])


def test_segments_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="in order and apart"):
        pack(sound(5.0), [(2.0, 3.0), (1.0, 1.5)])


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(models.ModelMissing, match=r"nowhere\.pt"):
        Transcript(tmp_path / "nowhere.pt")


def test_another_kind_of_checkpoint_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no Whisper checkpoint"):
        Transcript(tmp_path / "other.pt")


def test_the_spec_is_plain_json(parrot: Parrot) -> None:
    path = parrot(" bonjour")
    spec = Transcript(path).spec()
    assert json.loads(json.dumps(spec)) == spec
    assert spec["weights_sha256"] == models.file_sha256(path)
