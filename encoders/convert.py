"""Convert torch networks for OpenVINO: the only module that builds them, run as a process of its own.

    python -m encoders.convert NAME WEIGHTS FOLDER

Everything that every image or sentence goes through is put into the network, so that callers hand over plain pixels
and token numbers: colours are standardised in it, and outputs are pooled in it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openvino
import torch
from safetensors.torch import load_file

from encoders.models import torch_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

# Of ImageNet, in 0..255: what the weights were trained with. Source: README of efficientnet_lite_pytorch.
PIXEL_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
PIXEL_SCALE = (0.229 * 255, 0.224 * 255, 0.225 * 255)


class Eye(torch.nn.Module):
    """EfficientNet-Lite0: (n, 224, 224, 3) u8 RGB -> features (n, 1280) and logits (n, 1000)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, weights: Path) -> None:
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network.load_state_dict(torch_checkpoint(weights))
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(PIXEL_SCALE).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        standardised = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.scale
        features = self.network.extract_features(standardised).mean(dim=(2, 3))
        return features, self.network._fc(features)


class Reader(torch.nn.Module):
    """MiniLM: token numbers (n, length), none of them padding -> the mean of the token vectors (n, 384).

    Source: Reimers & Gurevych 2019, "Sentence-BERT", and the pooling file beside the weights.
    """

    def __init__(self, weights: Path) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        self.network = BertModel(BertConfig(**json.loads(weights.with_name("config.json").read_text())))
        state = load_file(weights)
        state.pop("embeddings.position_ids", None)  # older transformers stored 0, 1, 2, ... among the weights
        self.network.load_state_dict(state)

    def forward(self, tokens: Tensor) -> Tensor:
        states: Tensor = self.network(input_ids=tokens)[0]
        return states.mean(dim=1)


def efficientnet_lite0(weights: Path) -> Any:
    return openvino.convert_model(Eye(weights).eval(), example_input=torch.zeros(1, 224, 224, 3, dtype=torch.uint8))


def minilm(weights: Path) -> Any:
    return openvino.convert_model(Reader(weights).eval(), example_input=torch.ones(2, 9, dtype=torch.int64))


NETWORKS = {"efficientnet_lite0": efficientnet_lite0, "minilm": minilm}


def convert(name: str, weights: Path, folder: Path) -> None:
    """Write `folder/network.xml` and `.bin`; the folder appears whole or not at all.

    A killed process leaves a part that the next one overwrites; the lock goes with the process.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return  # another process was first
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        torch.set_num_threads(1)
        openvino.save_model(NETWORKS[name](weights), part / "network.xml", compress_to_fp16=False)
        for file in part.iterdir():  # a torn network after a power cut would stay broken for good
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        part.rename(folder)


if __name__ == "__main__":
    convert(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
