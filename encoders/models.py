"""The one place where weights are read: safetensors, ONNX, or a checkpoint through `torch.load(weights_only=True)`.

Weights arrive as Python packages or as files that the operator names; nothing is downloaded, and nothing that is read
here can run code.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime


class ModelMissing(Exception):
    """Weights that a modality wants are not there. The message names the package or the file, and what to do."""


def package_file(package: str, *parts: str) -> Path:
    """Return a file that an installed package carries, without importing the package.

    Importing `silero_vad` or `rapidocr` only to learn where their weights lie would load torch with them.

    Raises:
        ModelMissing: the package is not installed, or does not carry the file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelMissing(f"the package {package!r}, which carries {'/'.join(parts)}, is not installed")
    path = Path(spec.submodule_search_locations[0], *parts)
    if not path.is_file():
        raise ModelMissing(f"the package {package!r} is installed but does not carry {'/'.join(parts)}")
    return path


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes: what a space records of its weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def onnx_session(path: Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU, warnings of the runtime silenced."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def torch_checkpoint(path: Path) -> Any:
    """Read a torch checkpoint: tensors and plain containers only, so that a file cannot run code.

    Raises:
        ModelMissing: there is no such file.
    """
    import torch

    if not path.is_file():
        raise ModelMissing(f"no checkpoint at {path}")
    return torch.load(path, map_location="cpu", weights_only=True)
