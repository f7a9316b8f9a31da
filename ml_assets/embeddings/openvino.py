"""The same ONNX form on OpenVINO: what is fastest for many texts on some processors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.embeddings.batching import BatchingEncoder
from ml_assets.embeddings.space import ModelFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.embeddings.batching import Run
    from ml_assets.embeddings.reference import Precision

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def openvino_encoder(model: ModelFolder, path: Path, precision: Precision) -> BatchingEncoder:
    """An encoder on OpenVINO, in `precision`, of the export at `path`; for one thread at a time."""
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
    # Latency: all cores to one batch. The other hint, throughput, gives one core to each of several
    # requests, and there is one request only.
    options = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
    request = _core().compile_model(str(path), "CPU", options).create_infer_request()

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        # Not copied: what it returns is good until the next run, and is pooled before.
        tensors = {"input_ids": ids, "attention_mask": mask}
        (hidden,) = request.infer(tensors, share_inputs=True, share_outputs=True).values()
        states: NDArray[np.float32] = hidden
        return states

    return run
