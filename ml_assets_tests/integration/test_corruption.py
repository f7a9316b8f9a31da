"""What another hand did to the stores is told by the next run, and repaired as that says."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ml_assets.operations.state import written
from ml_assets.registry.versions import astray
from ml_assets.settings import load_settings
from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.training.experiments import is_stored
from ml_assets_tests.integration.corrupting import (
    AUDIT,
    BY_REPAIR,
    BY_RUN,
    CHANGED,
    KINDS,
    by_hand,
    candidates,
)
from ml_assets_tests.integration.dying import Place, read
from ml_assets_tests.integration.project import write_documents
from ml_assets_tests.paths import PROJECT

pytestmark = pytest.mark.xdist_group("corruption")


GENERATIONS = (
    "select generation_id, space_id, parameters, fusion, dropped_at,"
    " measured - '{hash,seconds}'::text[], evaluation - '{hash,seconds}'::text[]"
    " from search_generations"
    " where generation_id in (select generation_id from releases) order by 1"
)


INDEXES = "select indexdef from pg_indexes where schemaname = 'ml_schema' order by 1"


DEFINED = (
    "select 'space', space_id, definition from embedding_spaces union all"
    " select fingerprint, view, definition from feature_definitions order by 1, 2"
)


def stores(place: Place, home: Path | None = None) -> dict[str, Any]:
    home = home or place.home
    columns = "document_id, collection, label, metadata, group_id, created_at"
    aliases = "select alias from registered_model_aliases order by 1"
    with postgres.connect(None, home) as connection:
        query = f"select {columns} from documents where deleted_at is null order by 1"
        rows = connection.execute(query).fetchall()
        defined = connection.execute(DEFINED).fetchall()
        generations = connection.execute(GENERATIONS).fetchall()
        indexes = connection.execute(INDEXES).fetchall()
        where = mlflow.tracking(None, None, home)
        stored = [is_stored(where, each) for each in candidates(connection, home)]
    with psycopg.connect(postgres.server_url(None, home, "mlflow")) as connection:
        named = connection.execute(aliases).fetchall()
    with duckdb.connect(home / "offline.duckdb") as duck:
        results = duck.execute("select count(*) from experiment_performance").fetchall()
    return {
        **read(home),
        "fields": rows,
        "aliases": named,
        "results": results,
        "defined": defined,
        "generations": generations,
        "indexes": indexes,
        "stored": stored,
    }


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="ml_assets-", ignore_cleanup_errors=True) as folder:
        opened = Place(Path(folder), fast=True)
        opened.folder.chmod(0o755)
        write_documents(opened.file)
        try:
            yield opened
        finally:
            for home in (opened.home, opened.folder / "restored"):
                postgres.stop(home)


@pytest.fixture(scope="module")
def sound(place: Place) -> dict[str, Any]:
    """What the stores hold after a build from scratch."""
    place.call("run")
    assert "Nothing changed" in place.call("run")
    held = stores(place)
    assert held["aliases"] == [("challenger",), ("champion",)]
    return held


def test_every_kind_is_tried() -> None:
    """Each of the table stands in a list above, or is what another test does or sees refused."""
    tried = {
        each.by_hand for kinds in (BY_REPAIR, BY_RUN) for stage in kinds.values() for each in stage
    }
    tried |= {*AUDIT}
    assert len(KINDS) == len({(thing, deed) for thing, deed, _ in KINDS}) == 26
    for thing, deed, how in KINDS:
        if " :: " in how:
            file, test = how.split(" :: ")
            assert f"def {test}(" in (PROJECT / "ml_assets_tests" / file).read_text(), (thing, deed)
        else:
            assert any(how in damage for damage in tried), (thing, deed)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("chunks", "chunk_id = 'kitchen-1#0'"),
        ("document_embeddings", "chunk_id = 'kitchen-1#0'"),
        ("search_index_entries", "chunk_id = 'kitchen-1#0'"),
    ],
)
def test_what_the_keys_of_tables_refuse(place: Place, sound: object, table: str, key: str) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        by_hand(place, f"postgres: insert into {table} select * from {table} where {key}")


@pytest.mark.parametrize("stage", BY_REPAIR)
def test_what_another_hand_did_is_told_and_repaired(
    place: Place, sound: dict[str, Any], stage: str
) -> None:
    for kind in BY_REPAIR[stage]:
        by_hand(place, kind.by_hand)
    told = place.call("run", code=1)
    untold = [kind for kind in BY_REPAIR[stage] if not re.search(kind.told, told)]
    assert not untold, told
    assert "repair ml-assets repair" in told
    place.call("repair")
    assert "Nothing changed" in place.call("run")
    assert stores(place) == sound


@pytest.mark.parametrize("stage", BY_RUN)
def test_what_follows_from_other_stores_is_made_again(
    place: Place, sound: dict[str, Any], stage: str
) -> None:
    for kind in BY_RUN[stage]:
        before = mark(place)
        by_hand(place, kind.by_hand)
        assert mark(place) != before, f"{kind.by_hand}: a run would say that nothing changed"
    told = place.call("run")
    assert CHANGED in told
    assert not [kind for kind in BY_RUN[stage] if not re.search(kind.told, told)], told
    assert stores(place) == sound


def mark(place: Place) -> tuple[str, object]:
    """By this a run sees whether anybody wrote since the last."""
    with postgres.connect(None, place.home) as connection:
        where = mlflow.tracking(None, None, place.home)
        return written(connection, load_settings(home=place.home)), astray(connection, where)


def test_a_failed_check_is_told_until_it_passes(place: Place, sound: object) -> None:
    by_hand(place, "postgres: update documents set title = 'x' where document_id = 'space-5'")
    for _ in range(2):
        told = place.call("run", code=1)
        assert "altered_documents 1, examples space-5, repair ml-assets repair" in told
    assert "Blocking check failed documents_are_as_they_were_read" in place.call("status")
    place.call("repair")
    assert "Blocking check failed" not in place.call("status")


def test_a_retired_generation_is_told(place: Place, sound: object) -> None:
    """One whose settings no run describes: it is served again by a rollback alone."""
    Place(place.folder, {"ML_ASSETS_HNSW_M": "24"}, fast=True).call("run")
    place.call("run")
    before = stores(place)
    by_hand(
        place,
        "postgres: update search_generations set parameters = parameters - 'keyword',"
        " fusion = '{}' where generation_id in"
        " (select generation_id from releases where not upper_inf(served) order by 1)"
        " and generation_id <> (select generation_id from releases where upper_inf(served))",
    )
    told = place.call("run", code=1)
    assert "releases_are_as_logged: altered_generations 1" in told
    assert "repair ml-assets repair" in told
    place.call("repair")
    assert "Nothing changed" in place.call("run")
    assert stores(place) == before


def test_what_was_done_to_the_audit_log_is_told_for_good(place: Place, sound: object) -> None:
    """The last test of this home: nothing but a backup undoes it."""
    backup, restored = place.folder / "backup", place.folder / "restored"
    before = stores(place)
    place.call("run")  # to look into the stores has touched them
    place.call("backup", str(backup))
    for damage in AUDIT:
        by_hand(place, damage)
        told = place.call("run", code=1)
        assert "Blocking check failed audit_chain_is_intact" in told
        assert "ml-assets restore" in told
    place.call("restore", str(backup), home=restored)
    assert "Nothing changed" in place.call("run", home=restored)
    assert stores(place, restored) == before
