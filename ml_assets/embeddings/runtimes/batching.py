"""Texts to vectors around any transformer: tokenized once, batched by length, pooled by mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ml_assets.embeddings.space import ModelFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Padded = tuple[NDArray[np.int64], NDArray[np.int64]]
    """Token ids and mask of a batch, both (texts, tokens)."""

    Run = Callable[[Iterable[Padded]], Iterator[NDArray[np.float32]]]
    """Batches to their hidden states (texts, tokens, dimension), each valid until the next."""

TOKEN_BUDGET = 1024
"""Tokens of a batch, padding counted; half of it and twice it were slower."""


class BatchingEncoder:
    """Mean pooling over the transformer that `load` gives, loaded at the first text."""

    def __init__(
        self,
        model: ModelFolder,
        load: Callable[[], Run],
        runtime: str = "",
        *,
        width_step: int = 1,
        few_shapes: bool = False,
    ) -> None:
        """Describe the model; nothing is loaded yet. `runtime`: what runs it, in which precision.

        A batch is as wide as its longest text, up to the next multiple of `width_step`, and with
        `few_shapes` it has a power of two of rows: for what keeps kernels of every shape, and is
        asked for many small batches.
        """
        self.space = model.space
        self.runtime = runtime
        self._model = model
        self._load = load
        self._width_step = width_step
        self._few_shapes = few_shapes

    @property
    def loaded(self) -> bool:
        """Whether the transformer is in memory."""
        return "_run" in vars(self)

    def load(self) -> None:
        """Load the transformer and its tokenizer now, if they are not."""
        _ = self._run, self._tokenizer

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""
        return self._encode(self.tokenize(texts))

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same for queries, which have another prompt."""
        return self._encode(self.tokenize(texts, self.space.prompt_of_queries))

    def _encode(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        import numpy as np

        from ml_assets.embeddings.quantization import unit

        dimension = self.space.dimension
        vectors = np.empty((len(ids), dimension), dtype=np.float32)
        batches = list(token_batches(list(map(self._width, ids)), TOKEN_BUDGET))
        padded = [self._pad([ids[position] for position in batch]) for batch in batches]
        for batch, (_, mask), hidden in zip(batches, padded, self._run(padded), strict=True):
            # Of unit norm, the sum over a text's tokens is their mean.
            sums = (mask[:, None, :].astype(np.float32) @ hidden)[: len(batch), 0]
            vectors[batch] = unit(sums[:, :dimension])
        return vectors

    def tokenize(self, texts: Sequence[str], prompt: str | None = None) -> list[list[int]]:
        """The ids of each text's tokens, with the prompt's, cut to what the model reads."""
        prompt = self.space.prompt if prompt is None else prompt
        encodings = self._tokenizer.encode_batch([prompt + text for text in texts])
        return [encoding.ids for encoding in encodings]

    def _width(self, ids: Sequence[int]) -> int:
        """How many tokens a text takes in a batch, if it is the longest."""
        step = self._width_step
        return min(-(-len(ids) // step) * step, self.space.max_tokens)

    def _pad(self, ids: Sequence[Sequence[int]]) -> Padded:
        import numpy as np

        rows, width = len(ids), max(map(self._width, ids))
        if self._few_shapes:
            rows = 1 << (rows - 1).bit_length()
        tokens = np.zeros((rows, width), dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, text_ids in enumerate(ids):
            tokens[row, : len(text_ids)] = text_ids
            mask[row, : len(text_ids)] = 1
        mask[len(ids) :, 0] = 1  # nothing may be divided by a sum of zero
        return tokens, mask

    @cached_property
    def _run(self) -> Run:
        return self._load()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return cutting_tokenizer(self._model)


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Positions in `lengths`, shortest first, in batches of at most `budget` padded tokens.

    A text longer than the budget is a batch of its own.
    """
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[position] > budget:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def cutting_tokenizer(model: ModelFolder) -> Tokenizer:
    """The tokenizer of a model as it reads texts: cut at what the space says, and not filled."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model.tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.space.max_tokens)
    return tokenizer
