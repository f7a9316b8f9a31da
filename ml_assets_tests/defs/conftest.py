"""The real assets on embedded stores, with a source in memory and a small encoder."""

from collections.abc import Iterator

import dagster as dg
import pytest

from ml_assets.defs.documents import assets as document_assets
from ml_assets.defs.documents.assets import chunks, collections, raw_documents
from ml_assets.defs.embeddings import assets as embedding_assets
from ml_assets.defs.embeddings.assets import embeddings
from ml_assets.defs.partitions import contiguous_ranges, range_tags, register_collections
from ml_assets.defs.resources import PostgresResource, build_resources
from ml_assets.settings import Settings
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource
from ml_assets_tests.graph import Run


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def resources(settings: Settings, postgres_url: str) -> dict[str, object]:
    """The resources of an embedded deployment, on a database of the test's own."""
    home = str(settings.home)
    return {**build_resources(settings), "postgres": PostgresResource(url=postgres_url, home=home)}


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> MemorySource:
    """An empty source in memory, opened by the assets instead of the one in the settings."""
    opened = MemorySource()
    monkeypatch.setattr(document_assets, "open_source", lambda *_: opened)
    return opened


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> HashEncoder:
    """A hash-based encoder of a space of its own, used by the embedding assets and checks."""
    from ml_assets.defs.embeddings import checks as embedding_checks

    loaded = HashEncoder()
    monkeypatch.setattr(embedding_assets, "load_encoder", lambda *_: loaded)
    monkeypatch.setattr(embedding_checks, "load_float32", lambda _: loaded)
    for module in (embedding_assets, embedding_checks):
        monkeypatch.setattr(module, "current_space", lambda _: SPACE)
    return loaded


@pytest.fixture
def materialize(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    encoder: HashEncoder,
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
