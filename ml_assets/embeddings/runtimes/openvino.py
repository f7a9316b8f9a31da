"""The same ONNX form on OpenVINO: what is fastest for many texts on some processors."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.embeddings.runtimes.batching import BatchingEncoder
from ml_assets.embeddings.space import ModelFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.embeddings.runtimes.batching import Padded, Run
    from ml_assets.embeddings.runtimes.reference import Precision

STREAMS = min(os.cpu_count() or 1, 4)
"""Batches that run at a time: faster than one by one, but each has buffers of its own."""

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def openvino_encoder(model: ModelFolder, path: Path, precision: Precision) -> BatchingEncoder:
    """An encoder on OpenVINO, in `precision`, of the export at `path`."""
    return BatchingEncoder(model, lambda: _load(path, precision))


def native_precision() -> Precision:
    """bfloat16 where the CPU has instructions for it, else float32.

    Without the instructions bfloat16 is emulated, and slower than float32.
    """
    native = "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bfloat16" if native else "float32"


def _core() -> Any:
    # `import openvino` imports its converter where it can, and that one writes ~/intel and sends a
    # message to Google Analytics. Nothing here converts: for this process there is no converter.
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
    from openvino import Core

    return Core()


def _load(path: Path, precision: Precision) -> Run:
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": STREAMS,
    }
    compiled = _core().compile_model(str(path), "CPU", options)
    free = [compiled.create_infer_request() for _ in range(STREAMS + 1)]

    def run(batches: Iterable[Padded]) -> Iterator[NDArray[np.float32]]:
        # Started here and waited for here: two threads of Python inside OpenVINO wait for each
        # other, one with the interpreter's lock and one with OpenVINO's.
        started: deque[Any] = deque()
        try:
            for ids, mask in batches:
                free[-1].start_async({"input_ids": ids, "attention_mask": mask})
                started.append(free.pop())
                if not free:
                    yield _end(started[0])
                    free.append(started.popleft())
            while started:
                yield _end(started[0])
                free.append(started.popleft())
        finally:
            for request in started:
                request.wait()
            free.extend(started)

    return run


def _end(request: Any) -> NDArray[np.float32]:
    request.wait()
    hidden: NDArray[np.float32] = request.get_output_tensor().data
    return hidden
