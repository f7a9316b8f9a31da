"""Any sentence-transformers model on a GPU: batches as large as its memory takes, kept busy.

Texts are tokenized in a thread beside the device, sorted by length, and run in half precision where
that was seen to give the vectors of float32. Out of memory, the batches are halved from then on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ml_assets.embeddings.runtimes.batching import cutting_tokenizer
from ml_assets.embeddings.runtimes.reference import SentenceTransformerEncoder
from ml_assets.embeddings.runtimes.speed import MIN_COSINE, SAMPLE
from ml_assets.embeddings.space import ModelFolder

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

MOST_TOKENS = 524_288
"""Tokens of a batch, padding counted: more were not faster on an H200."""

LEAST_TOKENS = 1_024
"""The least budget that a look at the free memory gives."""

_MEMORY = 0.5
"""The part of the free memory that a batch may take: its size is an estimate."""

_HALVES = ("float16", "bfloat16")


class GpuEncoder:
    """Encodes whole groups of texts; the next one is tokenized while the device works."""

    ordered = True
    ahead = 3
    batch_weight = 8_000_000

    def __init__(
        self,
        model: ModelFolder,
        precision: str = "auto",
        device: str = "cuda",
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        """Describe the model; nothing is loaded before the first text."""
        self.space, self._model, self._device = model.space, model, device
        self._wanted = _HALVES if precision == "auto" else (precision,)
        self._free_bytes = free_bytes or _free_bytes
        self._tokenizing = ThreadPoolExecutor(1)
        self._running = ThreadPoolExecutor(1)

    def weight(self, text: str) -> int:
        """Characters, about four to a token."""
        return len(text) + 8

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""
        return self.submit(texts).result()

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same for queries, which have another prompt."""
        return self._submit(self.space.prompt_of_queries, texts).result()

    def submit(self, texts: Sequence[str]) -> Future[NDArray[np.float32]]:
        """Begin to encode a group of texts: it is tokenized at once."""
        return self._submit(self.space.prompt, texts)

    def _submit(self, prompt: str, texts: Sequence[str]) -> Future[NDArray[np.float32]]:
        ids = self._tokenizing.submit(self._tokenize, [prompt + text for text in texts])
        return self._running.submit(lambda: self._run(ids.result()))

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        # In threads of its own, on all cores, without the interpreter's lock.
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]

    def _run(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        import numpy as np
        import torch

        vectors = np.empty((len(ids), self.space.dimension), dtype=np.float32)
        # The longest texts first: what does not fit is known at once.
        rest = sorted(range(len(ids)), key=lambda position: len(ids[position]), reverse=True)
        while rest:
            width = max(1, len(ids[rest[0]]))
            batch = rest[: max(1, self.budget // width)]
            try:
                vectors[batch] = self._forward([ids[position] for position in batch])
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                self._halve(width * len(batch))
            else:
                rest = rest[len(batch) :]
        return vectors

    def _forward(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """The vectors of one batch, copied from the device once."""
        import numpy as np
        import torch

        width = max(map(len, ids))
        tokens = np.zeros((len(ids), width), dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, text in enumerate(ids):
            tokens[row, : len(text)] = text
            mask[row, : len(text)] = 1
        with torch.inference_mode():
            features = {
                "input_ids": self._to_device(tokens),
                "attention_mask": self._to_device(mask),
            }
            pooled = self._module.forward(features)["sentence_embedding"]
            cut = pooled[:, : self.space.dimension].float()
            unit = torch.nn.functional.normalize(cut, dim=1)
            return np.asarray(unit.cpu().numpy())

    def _to_device(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        import torch

        tensor = torch.from_numpy(numbers)
        if self._device.startswith("cuda"):
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)

    def _halve(self, tokens: int) -> None:
        import torch

        self.budget = min(self.budget, tokens) // 2
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    @cached_property
    def budget(self) -> int:
        """Tokens of a batch, padding counted: as many as half of the free memory takes."""
        transformer: Any = self._module[0].auto_model
        config = transformer.config
        numbers = 8 * config.hidden_size + 2 * getattr(config, "intermediate_size", 4096)
        width = next(self._module.parameters()).element_size()
        room = int(_MEMORY * self._free_bytes() / (numbers * width))
        return max(LEAST_TOKENS, min(MOST_TOKENS, room))

    @cached_property
    def precision(self) -> str:
        """The arithmetic that was chosen, of float16, bfloat16 and float32."""
        return str(next(self._module.parameters()).dtype).removeprefix("torch.")

    @cached_property
    def _module(self) -> SentenceTransformer:
        """The model, in the first precision that is wanted whose vectors are those of float32."""
        import torch

        exact = SentenceTransformerEncoder(self._model, "float32").transformer.to(self._device)
        expected = self._sampled(exact)
        for name in self._wanted:
            half = copy.deepcopy(exact).to(getattr(torch, name))
            if float((self._sampled(half) * expected).sum(dim=1).min()) >= MIN_COSINE:
                return half
        return exact

    def _sampled(self, module: SentenceTransformer) -> torch.Tensor:
        """Vectors of a sample, of unit norm, in float32."""
        import torch

        with torch.inference_mode():
            made = module.encode(SAMPLE, convert_to_tensor=True, show_progress_bar=False)
            cut = made[:, : self.space.dimension].float()
            return torch.nn.functional.normalize(torch.nan_to_num(cut), dim=1)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return cutting_tokenizer(self._model)


def _free_bytes() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[0])
