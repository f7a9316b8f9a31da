"""What every vector index does with vectors, whatever its store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_assets.errors import SpaceMismatchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.search.indexes.contract import Entry
    from ml_assets.search.model import Generation, Vector


def check_dimension(vector: Vector, generation: Generation) -> None:
    """Refuse the vector of a query unless its shape is (dimension,)."""
    if vector.shape != (generation.dimension,):
        raise SpaceMismatchError(
            f"a vector of shape {vector.shape} met a space of dimension {generation.dimension}",
            where=f"search generation {generation.generation_id}",
            do="Encode the query with the model of the generation",
        )


def vector_of(entry: Entry) -> Vector:
    """The vector of an entry, of shape (dimension,); half numbers are exact in float32."""
    from ml_assets.embeddings.quantization import from_float16

    if entry.embedding is None:
        raise ValueError(f"{entry.chunk_id} came without its vector")
    return from_float16(entry.embedding.to_numpy())


def unit(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows of a matrix of shape (n, dimension) at norm 1; none may be zero.

    Half precision leaves norms off by 1e-4; the indexes rank by the true cosine.
    """
    import numpy as np

    rows: NDArray[np.float32] = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return rows


def unpack_halves(packed: Sequence[bytes]) -> NDArray[np.float32]:
    """The rows of what pgvector sends of half vectors, of shape (vectors, dimension).

    Each is its dimension, a zero, then big-endian numbers.
    """
    import numpy as np

    from ml_assets.embeddings.quantization import from_float16

    rows = np.frombuffer(b"".join(packed), dtype=">f2").reshape(len(packed), -1)
    return from_float16(rows[:, 2:])
