import json

import pytest

from ml_assets.errors import NothingToDoError, SpaceMismatchError
from ml_assets.search.generation import (
    ensure_generation,
    find_generation,
    generation_id,
)
from ml_assets.search.indexes.kinds import index_parameters
from ml_assets.search.model import DEFAULT_FUSION, Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.search.corpus import parameters_of


def test_space_and_parameters_make_the_id(settings: Settings) -> None:
    parameters = index_parameters(settings)
    again = json.loads(json.dumps(parameters))
    assert generation_id("a" * 16, parameters) == generation_id("a" * 16, again)
    assert generation_id("b" * 16, parameters) != generation_id("a" * 16, parameters)
    changed = index_parameters(settings.model_copy(update={"hnsw_ef_construction": 65}))
    assert generation_id("a" * 16, changed) != generation_id("a" * 16, parameters)


def test_a_generation_is_created_once(
    connection: postgres.Connection, generation: Generation, settings: Settings
) -> None:
    assert not generation.dropped
    assert generation.dimension == 16
    assert generation.fusion == DEFAULT_FUSION
    again = ensure_generation(connection, generation.space_id, parameters_of(settings))
    assert again == generation
    assert find_generation(connection, generation.generation_id) == generation


def test_an_unknown_space_or_generation_is_said(
    connection: postgres.Connection, settings: Settings
) -> None:
    with pytest.raises(SpaceMismatchError, match="no vector space"):
        ensure_generation(connection, "f" * 16, index_parameters(settings))
    with pytest.raises(NothingToDoError, match="no search generation"):
        find_generation(connection, "f" * 16)
