"""A remote model, on any server that speaks like OpenAI's: several requests at a time.

Each is paid for once, and none that could cost more than the job may is sent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ml_assets.documents.streams import as_done, batches
from ml_assets.embeddings.endpoint import MOST_TEXTS, Answer, RefusedError, connect, endpoint_of
from ml_assets.embeddings.space import ModelFolder, load_tokenizer
from ml_assets.errors import CostError, SpaceMismatchError
from ml_assets.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass
class Meter:
    """Tokens that a job has paid for, and what it may cost: `price` for a million tokens."""

    price: float = 0.0
    most: float = math.inf
    tokens: int = 0
    _reserved: int = field(default=0, repr=False)

    def cost(self, tokens: int) -> float:
        """What so many tokens cost."""
        return tokens * self.price / 1e6

    def reserve(self, texts: Sequence[str]) -> int:
        """Set aside the most that a request can cost, in tokens: none has less than a byte.

        Raises:
            CostError: it could cost more than is left.
        """
        most = sum(len(text.encode()) + 8 for text in texts)
        if self.cost(self.tokens + self._reserved + most) > self.most:
            raise CostError(
                f"after {self.tokens:,} tokens for {self.cost(self.tokens):.4f}, the next request"
                f" could exceed {self.most:g}; what was paid for is kept",
                where="ML_ASSETS_EMBEDDING_MAX_COST",
                do="Raise it, or run again: each run may cost so much",
            )
        self._reserved += most
        return most

    def settle(self, reserved: int, tokens: int) -> None:
        """Count what a request did cost instead of what was set aside for it."""
        self._reserved -= reserved
        self.tokens += tokens


class OpenAIEncoder:
    """Vectors of unit norm from a server; the first `dimension` numbers of what it gives."""

    ordered = False

    def __init__(self, model: ModelFolder, settings: Settings) -> None:
        """Describe the remote model that the settings name; nothing is sent yet."""
        endpoint = endpoint_of(settings)
        if endpoint is None:
            raise ValueError("the settings name a model of this machine")
        self.space, self._model = model.space, model
        self.ahead = settings.embedding_requests
        self.batch_weight = settings.embedding_request_tokens
        self.meter = Meter(settings.embedding_price, settings.embedding_max_cost or math.inf)
        self._of_queries, self._of_texts = endpoint.input_types
        self._tokenizer = load_tokenizer(model.tokenizer_file)
        self._connection = connect(endpoint)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`: float32, shape (len(texts), dimension), unit norm."""
        return self._encode(self.space.prompt, texts, self._of_texts)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same for queries, which have another prompt."""
        return self._encode(self.space.prompt_of_queries, texts, self._of_queries)

    def weight(self, text: str) -> int:
        """About how many tokens a text has: at least one for 6 bytes, of which words are cut."""
        tokens = len(self._tokenizer.encode(self.space.prompt + text))
        return max(tokens, len(text.encode()) // 6, math.ceil(self.batch_weight / MOST_TEXTS))

    def submit(self, texts: Sequence[str]) -> Future[NDArray[np.float32]]:
        """Begin to encode texts that are one request."""
        prompted = [self.space.prompt + text for text in texts]
        return self._connection.start(self._request(prompted, self._of_texts))

    def _encode(self, prompt: str, texts: Sequence[str], input_type: str) -> NDArray[np.float32]:
        import numpy as np

        vectors = np.empty((len(texts), self.space.dimension), dtype=np.float32)

        def submit(positions: list[int]) -> Future[NDArray[np.float32]]:
            prompted = [prompt + texts[n] for n in positions]
            return self._connection.start(self._request(prompted, input_type))

        cut = batches(range(len(texts)), lambda n: self.weight(texts[n]), self.batch_weight)
        for positions, rows in as_done(submit, cut, self.ahead):
            vectors[positions] = rows
        return vectors

    async def _request(self, texts: list[str], input_type: str) -> NDArray[np.float32]:
        import numpy as np

        most = self._connection.most_texts
        if len(texts) > most:
            parts = [texts[start : start + most] for start in range(0, len(texts), most)]
            return np.concatenate([await self._request(part, input_type) for part in parts])
        reserved, answer = self.meter.reserve(texts), None
        try:
            answer = await self._connection.embed(texts, input_type)
        except RefusedError:
            if len(texts) == 1:
                raise
        finally:
            self.meter.settle(reserved, self._tokens(texts, answer))
        if answer is None:  # too many for this server, which tells nobody its limit
            self._connection.most_texts = min(self._connection.most_texts, (len(texts) + 1) // 2)
            return await self._request(texts, input_type)
        return self._unit(answer.vectors)

    def _tokens(self, texts: Sequence[str], answer: Answer | None) -> int:
        if answer is None:
            return 0
        return answer.tokens if answer.tokens is not None else sum(map(self.weight, texts))

    def _unit(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        from ml_assets.embeddings.quantization import unit

        if vectors.shape[1] != self._model.given:
            raise SpaceMismatchError(
                f"the server gives {vectors.shape[1]} numbers, and gave {self._model.given} before",
                where=self._connection.endpoint.place,
                do=f"It serves another model: set its name, or remove {self._model.record}",
            )
        return unit(vectors[:, : self.space.dimension])
