"""The asset graph, as tests look at it."""

from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from ml_assets.defs.build import build_definitions
from ml_assets.documents.chunking import Chunker
from ml_assets.embeddings.encoder import Encoder
from ml_assets.embeddings.space import VectorSpace, current_chunker
from ml_assets.settings import Settings
from ml_assets_tests.fakes import HashEncoder

Run = Callable[..., dg.ExecuteInProcessResult]
"""Materializes with the given checks; what it returns tells how that went."""


@dataclass(frozen=True)
class FakeEncoderResource:
    """The resource `encoder`, with a hash-based encoder in the place of the model's."""

    settings: Settings
    encoder: HashEncoder

    @property
    def space(self) -> VectorSpace:
        """The space of the encoder."""
        return self.encoder.space

    @property
    def chunker(self) -> Chunker:
        """The chunker of the model in the settings."""
        return current_chunker(self.settings)

    def load(self, tokens: int = 0) -> Encoder:
        """Return the encoder."""
        return self.encoder

    def load_float32(self) -> Encoder:
        """Return another of the same space, so that texts of checks are not counted."""
        return HashEncoder(self.space)


def asset_graph(settings: Settings | None = None) -> AssetGraph:
    """Resolve the graph within an instance of its own.

    Dagster asks the instance that was opened last in this process, by whatever test, and fails
    when that one is gone.
    """
    with dg.DagsterInstance.ephemeral():
        return build_definitions(settings).resolve_asset_graph()
