"""The transformer of a model, run by torch: what is fastest for many texts on some processors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ml_assets.embeddings.batching import BatchingEncoder
from ml_assets.embeddings.space import ModelFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.embeddings.batching import Run

Precision = Literal["float32", "bfloat16"]


def torch_encoder(model: ModelFolder, precision: Precision) -> BatchingEncoder:
    """An encoder on torch in `precision`; vectors are pooled and normalised in float32."""
    return BatchingEncoder(model, lambda: _load(model, precision))


def native_precision() -> Precision:
    """bfloat16 where the GPU or the CPU has instructions for it, else float32.

    Without the instructions bfloat16 is emulated, and slower than float32.
    """
    import torch

    native = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_has_bfloat16()
    return "bfloat16" if native else "float32"


def _cpu_has_bfloat16() -> bool:
    import torch

    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())


def _load(model: ModelFolder, precision: Precision) -> Run:
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformer: Any = transformers.AutoModel.from_pretrained(
        str(model.path), local_files_only=True, dtype=getattr(torch, precision)
    ).eval()

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            output = transformer(
                input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)
            )
            hidden: NDArray[np.float32] = output.last_hidden_state.float().numpy()
            return hidden

    return run
