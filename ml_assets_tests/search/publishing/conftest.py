import pytest

from ml_assets.search.generation import ensure_generation
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.search.corpus import fill, parameters_of
from ml_assets_tests.search.generations import DOCS, OLD, embed_in_old_space


@pytest.fixture
def older(connection: postgres.Connection, settings: Settings) -> Generation:
    """A generation in another space, in which every chunk has a vector."""
    fill(connection, DOCS)
    embed_in_old_space(connection)
    return ensure_generation(connection, OLD.space_id, parameters_of(settings))
