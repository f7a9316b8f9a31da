"""What pgvector's index alone does: its own index is used, rebuilt, and kept apart from others."""

from dataclasses import replace

import pytest
from psycopg import sql

from ml_assets.delta import Delta
from ml_assets.errors import SettingError
from ml_assets.search.filters.language import NO_FILTER
from ml_assets.search.indexes.kinds import sync_index
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.choices import CHOICES, OpenIndex
from ml_assets_tests.search.corpus import Doc, fill, generation_of, ids, put
from ml_assets_tests.search.indexes.asking import ask, only_indexes

PGVECTOR = [name for name in CHOICES if name.startswith("pgvector")]


def leaves(connection: postgres.Connection, index: PgvectorIndex) -> list[str]:
    """The names of an index on the partitions that hold rows."""
    rows = connection.execute(
        "select relid::regclass::text from pg_partition_tree(%s) where isleaf", [index.name]
    )
    return [name for (name,) in rows]


@pytest.mark.parametrize("open_index", PGVECTOR, indirect=True)
def test_pgvector_uses_its_index_and_rebuilds_an_invalid_one(
    connection: postgres.Connection, superuser: postgres.Connection, open_index: OpenIndex
) -> None:
    fill(connection, {f"d{number}": Doc((f"word {number}",)) for number in range(40)})
    index = open_index()
    assert isinstance(index, PgvectorIndex)
    assert sync_index(connection, index).delta == Delta(added=40)
    only_indexes(connection)
    (vector,) = HashEncoder().encode(["word 1"])
    for query, bound in (
        index._unfiltered(vector, 5),
        index._composed(index._design.layout.query, vector, 5, NO_FILTER),
    ):
        plan = connection.execute(sql.SQL("explain ") + query, bound).fetchall()
        (name,) = leaves(connection, index)
        assert name in "".join(line for (line,) in plan)
    invalid = "update pg_index set indisvalid = false where indexrelid = to_regclass(%s)"
    superuser.execute(invalid, [index.name])
    assert ids(index) == set()
    assert sync_index(connection, index).delta == Delta(added=40)
    assert index.size() == 40


def test_indexes_of_several_generations_are_not_taken_for_each_other(
    connection: postgres.Connection, settings: Settings
) -> None:
    fill(connection, {f"d{number}": Doc((f"word {number}",)) for number in range(40)})
    indexes = [
        PgvectorIndex(
            connection, generation_of(connection, settings.model_copy(update=CHOICES[name]))
        )
        for name in PGVECTOR
    ]
    for index in indexes:
        sync_index(connection, index)
    only_indexes(connection)
    (vector,) = HashEncoder().encode(["word 1"])
    for index in indexes:
        query, bound = index._unfiltered(vector, 5)
        plan = connection.execute(sql.SQL("explain ") + query, bound).fetchall()
        lines = "".join(line for (line,) in plan)
        used = [one for one in indexes for name in leaves(connection, one) if f"{name} on" in lines]
        assert used == [index]


def test_a_scan_goes_on_only_where_one_look_may_not_do(
    connection: postgres.Connection, generation: Generation
) -> None:
    fill(connection, {f"{number}": Doc((f"word {number}",)) for number in range(9)})
    index = PgvectorIndex(connection, generation)
    sync_index(connection, index)
    (vector,) = HashEncoder().encode(["word 7"])

    def scans() -> str:
        ((value,),) = connection.execute("show hnsw.iterative_scan").fetchall()
        return str(value)

    assert [len(index.query(vector, 5).chunk_ids), scans()] == [5, "off"]
    assert [len(index._live_of_nearest(vector, 400)), scans()] == [9, "relaxed_order"]
    index.query(vector, 5)
    index._approximate(vector, 5, NO_FILTER)
    assert scans() == "relaxed_order"


@pytest.mark.parametrize("open_index", PGVECTOR, indirect=True)
def test_others_take_the_place_of_the_nearest_that_died(
    connection: postgres.Connection, open_index: OpenIndex
) -> None:
    fill(connection, {f"d{number}": Doc((f"word {number}",)) for number in range(40)})
    index = open_index()
    sync_index(connection, index)
    before = ask(index, k=10)
    dead = [chunk_id.rpartition("#")[0] for chunk_id in before.chunk_ids[:3]]
    connection.execute(
        "update documents set deleted_at = now() where document_id = any(%s)", [dead]
    )
    after = ask(index, k=7)
    assert list(after.chunk_ids) == list(before.chunk_ids[3:])
    assert not after.exhausted


@pytest.mark.parametrize("open_index", ["pgvector ivfflat"], indirect=True)
def test_lists_that_the_rows_outgrew_are_made_anew(
    connection: postgres.Connection, open_index: OpenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.search.indexes.sizing._ROWS_OF_A_LIST", 10)
    index = open_index()
    assert isinstance(index, PgvectorIndex)
    sync_index(connection, index)  # of an empty table: nothing to learn lists from
    assert index._lists() == 1
    fill(connection, {f"d{number}": Doc((f"word {number}",)) for number in range(40)})
    assert sync_index(connection, index).delta == Delta(added=40)
    assert index._lists() == 4
    fill(connection, {f"e{number}": Doc((f"term {number}",)) for number in range(40)})
    assert sync_index(connection, index).delta == Delta(unchanged=80)  # twice as many: not yet
    put(connection, "one", Doc(tuple(f"more {number}" for number in range(20))))
    assert sync_index(connection, index).delta == Delta(added=100)
    assert (index._lists(), index.size()) == (10, 100)


def test_a_type_that_cannot_index_the_dimension_is_a_clear_error(
    connection: postgres.Connection, settings: Settings
) -> None:
    chosen = generation_of(connection, settings.model_copy(update={"pgvector_type": "vector"}))
    large = PgvectorIndex(connection, replace(chosen, dimension=2001))
    with pytest.raises(SettingError, match=r"ML_ASSETS_PGVECTOR_TYPE: .* at most 2000"):
        sync_index(connection, large)
