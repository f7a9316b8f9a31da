"""The real assets on embedded stores, with a source in memory and a small encoder."""

from collections.abc import Iterator

import dagster as dg
import pytest

from ml_assets.defs.documents.assets import chunks, collections, raw_documents
from ml_assets.defs.embeddings.assets import embeddings
from ml_assets.defs.partitions import contiguous_ranges, range_tags, register_collections
from ml_assets.defs.resources import PostgresResource, build_resources
from ml_assets.settings import Settings
from ml_assets_tests.fakes import HashEncoder, MemorySource
from ml_assets_tests.graph import Run, fake_encoder


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def resources(
    settings: Settings, postgres_url: str, source: MemorySource, encoder: HashEncoder
) -> dict[str, object]:
    """The resources of an embedded deployment, on a database of the test's own."""
    return {
        **build_resources(settings),
        "postgres": PostgresResource(url=postgres_url, home=str(settings.home), actor="tester"),
        "source": lambda: source,
        "encoder": fake_encoder(settings, encoder),
    }


@pytest.fixture
def source() -> MemorySource:
    """An empty source in memory, opened instead of the one in the settings."""
    return MemorySource()


@pytest.fixture
def encoder() -> HashEncoder:
    """A hash-based encoder of a space of its own."""
    return HashEncoder()


@pytest.fixture
def materialize(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
) -> Run:
    """Materialize documents, chunks and embeddings of the source, with the given checks."""

    def run(*checks: dg.AssetChecksDefinition, raise_on_error: bool = True) -> object:
        names = source.collections()
        register_collections(instance, names)
        (keys,) = contiguous_ranges(instance, names)
        return dg.materialize(
            [collections, raw_documents, chunks, embeddings, *checks],
            resources=resources,
            instance=instance,
            tags=range_tags(keys),
            raise_on_error=raise_on_error,
        )

    return run
