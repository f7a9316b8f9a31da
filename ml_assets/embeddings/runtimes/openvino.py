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

WIDTH_STEP = 16
"""It keeps kernels for every shape it has met, and the padding costs less than they do."""

STREAMS = min(os.cpu_count() or 1, 4)
"""Batches that run at a time: faster than one by one, but each has buffers of its own."""

_COMMON = [
    *((1, width) for width in range(WIDTH_STEP, 5 * WIDTH_STEP, WIDTH_STEP)),
    *((2**power, width) for power in range(1, 6) for width in (WIDTH_STEP, 2 * WIDTH_STEP)),
]
"""Shapes of batches of queries, (texts, tokens)."""

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def openvino_encoder(
    model: ModelFolder, path: Path, precision: Precision, streams: int = STREAMS
) -> BatchingEncoder:
    """An encoder on OpenVINO, in `precision`, of the export at `path`.

    Each of its `streams` works on a batch of its own, on one core where there is only one stream.
    One thread may ask at a time.
    """
    return BatchingEncoder(
        model,
        lambda: _load(path, precision, streams),
        f"openvino {precision}",
        width_step=WIDTH_STEP,
        few_shapes=streams == 1,
    )


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


def _load(path: Path, precision: Precision, streams: int) -> Run:
    options: dict[str, str | int] = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": streams,
    }
    if streams == 1:
        options["INFERENCE_NUM_THREADS"] = 1
    compiled = _core().compile_model(str(path), "CPU", options)
    if streams == 1:
        return _run_alone(compiled.create_infer_request())
    free = [compiled.create_infer_request() for _ in range(streams + 1)]

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


def _run_alone(request: Any) -> Run:
    import numpy as np

    def run(batches: Iterable[Padded]) -> Iterator[NDArray[np.float32]]:
        for ids, mask in batches:
            # In this thread: waking another one takes a tenth of a query's time.
            request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True)
            yield request.get_output_tensor().data

    # A shape that is new takes the time of ten queries.
    ones = (np.ones(shape, dtype=np.int64) for shape in _COMMON)
    deque(run((one, one) for one in ones), maxlen=0)
    return run


def _end(request: Any) -> NDArray[np.float32]:
    request.wait()
    hidden: NDArray[np.float32] = request.get_output_tensor().data
    return hidden
