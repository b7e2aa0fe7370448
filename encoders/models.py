"""The one place where weights are read: safetensors, ONNX, or a checkpoint through `torch.load(weights_only=True)`.

Weights arrive as Python packages or as files that the operator names; nothing is downloaded, and nothing that is read
here can run code. Torch networks are converted once, by another process, and kept for OpenVINO: importing torch costs
seconds and hundreds of megabytes, which only the first start pays.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnxruntime
    import openvino

log = logging.getLogger(__name__)

CACHE_VARIABLE = "FIRSTLOOK_CACHE"
"""Names the folder of converted networks; `~/.cache/firstlook` where it is not set."""

CONVERSION_LIBRARIES = ("openvino", "torch", "transformers")


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


def tensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read a safetensors file: its arrays and its metadata.

    Raises:
        ModelMissing: there is no such file.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise ModelMissing(f"no safetensors file at {path}")
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def cache_folder() -> Path:
    """Where converted networks are kept."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "firstlook")


def converted(name: str, weights: Path) -> Path:
    """Return the OpenVINO file of a network, converting its torch weights if nobody did so before.

    Kept under a key of all that decides it: the weights, the code that converts and the libraries that it calls. Any
    number of processes may ask at once; one converts and the others wait for it.

    Args:
        name: a function of `encoders/convert.py`.
        weights: the file that it converts.

    Raises:
        RuntimeError: the conversion failed; the message ends with what it said.
    """
    recipe = {"weights": file_sha256(weights), "converter": file_sha256(Path(__file__).with_name("convert.py"))}
    recipe |= {library: version(library) for library in CONVERSION_LIBRARIES}
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    network = cache_folder() / f"{name}-{key}" / "network.xml"
    if not network.is_file():
        log.info("converting %s for OpenVINO, once: about ten seconds and 1 GB of memory", name)
        # Another process, so that torch's memory goes when it has done its one thing.
        command = [sys.executable, "-m", "encoders.convert", name, str(weights), str(network.parent)]
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"converting {name} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return network


def best_precision() -> str:
    """`bf16` where the CPU multiplies bfloat16 by itself, `fp32` elsewhere: emulated, bf16 would only be slower."""
    import openvino

    capable = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capable else "fp32"


_SETTLING = threading.Lock()


def _settle_bindings() -> None:
    """Run a network of one addition here, before any two threads can.

    The bindings look up numpy's types when they first see an array. They do it inside a C++ static that is being
    initialised, and let go of Python's lock on the way: two threads that get there together wait for each other for
    ever (seen in 2 of about 60 starts; py-spy shows `__cxa_guard_acquire` against `gil_safe_call_once_and_store`).
    """
    import openvino
    from openvino import opset15 as op

    with _SETTLING:
        given = op.parameter([1], np.float32)
        request = openvino.compile_model(openvino.Model([op.add(given, given)], [given]), "CPU").create_infer_request()
        request.infer([np.ones(1, np.float32)], share_inputs=True)
        request.output_tensors[0].data.copy()


class Network:
    """A compiled OpenVINO network that any number of threads may call at once.

    Each of its `threads` workers owns one infer request and one core, so requests never meet and a result does not
    depend on who else was asking.

    Args:
        path: what `converted` returned.
        threads: how many inferences run at once.
        precision: `bf16` or `fp32`.
        shapes: input name -> fixed shape, for inputs whose shape is always the same.
    """

    def __init__(
        self, path: Path, *, threads: int, precision: str, shapes: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        import openvino

        if threads < 1:
            raise ValueError(f"at least one thread wanted, got {threads}")
        types = {"bf16": openvino.Type.bf16, "fp32": openvino.Type.f32}
        if precision not in types:
            raise ValueError(f"precision wants one of {sorted(types)}, got {precision!r}")
        _settle_bindings()
        core = openvino.Core()
        model = core.read_model(path)
        if shapes:
            model.reshape({name: list(shape) for name, shape in shapes.items()})
        # Pinned threads of two processes would share the first core and leave the second idle.
        options = {
            "NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": types[precision],
            "ENABLE_CPU_PINNING": False,
        }  # fmt: skip
        self._compiled = core.compile_model(model, "CPU", options)
        self._local = threading.local()
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix=path.parent.name)

    def map(self, batches: Iterable[Sequence[NDArray[Any]]]) -> Iterable[tuple[NDArray[np.float32], ...]]:
        """Run each batch (one array per input of the network) and yield its outputs, in the order of the batches."""
        return self._workers.map(self._infer, batches)

    def _infer(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], ...]:
        request: openvino.InferRequest | None = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        request.infer(list(inputs), share_inputs=True)
        # Copied: the next inference writes into the same memory.
        return tuple(output.data.copy() for output in request.output_tensors)
