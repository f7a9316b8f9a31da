"""What Dagster's records say of the last run, though neither source nor tables ask for another."""

import dagster as dg
import pytest

from ml_assets.defs.documents.checks import rows_were_readable
from ml_assets.defs.embeddings import checks as embedding_checks
from ml_assets.defs.embeddings.checks import every_chunk_has_one_vector, vectors_have_unit_norm
from ml_assets.defs.resources import PostgresResource
from ml_assets.defs.unfinished import open_checks, unfinished_collections
from ml_assets.documents.model import Document, Rejected
from ml_assets.errors import StoreError
from ml_assets_tests.fakes import MemorySource
from ml_assets_tests.graph import Run

NAMES = ["a", "b"]


@pytest.fixture(autouse=True)
def _two_collections(source: MemorySource) -> None:
    source.documents = [Document(f"x{name}", name, "Text.") for name in NAMES]


def test_a_run_that_ended_well_leaves_nothing(
    materialize: Run, instance: dg.DagsterInstance
) -> None:
    assert materialize(every_chunk_has_one_vector).success
    assert unfinished_collections(instance, [*NAMES, "elsewhere"]) == set()


def test_a_materialization_that_was_not_recorded(
    materialize: Run, instance: dg.DagsterInstance
) -> None:
    materialize()
    instance.wipe_assets([dg.AssetKey("chunks")])
    assert unfinished_collections(instance, [*NAMES, "elsewhere"]) == {"a", "b"}


def test_a_blocking_check_that_failed_is_not_passed_by_running_again(
    materialize: Run, instance: dg.DagsterInstance, resources: dict[str, object]
) -> None:
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    materialize()
    with postgres.connect() as connection:
        connection.execute("update document_embeddings set embedding = embedding + embedding")
    for _ in range(2):
        assert not materialize(vectors_have_unit_norm, raise_on_error=False).success
        assert unfinished_collections(instance, NAMES) == {"a", "b"}
    with postgres.connect() as connection:
        connection.execute("delete from document_embeddings")
    assert materialize(vectors_have_unit_norm).success
    assert unfinished_collections(instance, NAMES) == set()


def test_a_check_that_was_not_reached_after_a_write(
    materialize: Run, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = every_chunk_has_one_vector.check_key
    open_meanwhile: list[list[dg.AssetCheckKey]] = []

    def gone(*_: object) -> object:
        open_meanwhile.append(open_checks(instance, [key]))
        raise StoreError("the server went away", do="Wait")

    with monkeypatch.context() as patch:
        patch.setattr(embedding_checks, "unmatched", gone)
        assert not materialize(every_chunk_has_one_vector, raise_on_error=False).success
    assert not any(open_meanwhile), "the run is at work, and may reach it"
    assert open_checks(instance, [key]) == [key]
    assert unfinished_collections(instance, NAMES) == {"a", "b"}
    assert materialize(every_chunk_has_one_vector).success
    assert unfinished_collections(instance, NAMES) == set()


def test_a_warning_asks_for_no_run(
    materialize: Run, source: MemorySource, instance: dg.DagsterInstance
) -> None:
    source.documents.append(Rejected("a", "f.csv:2", "no text"))
    result = materialize(rows_were_readable)
    assert [check.passed for check in result.get_asset_check_evaluations()] == [False]
    assert unfinished_collections(instance, NAMES) == set()


@pytest.mark.parametrize("severity", list(dg.AssetCheckSeverity))
def test_only_an_error_of_a_blocking_check_is_open(
    instance: dg.DagsterInstance, severity: dg.AssetCheckSeverity
) -> None:
    key = dg.AssetCheckKey(dg.AssetKey("candidate_models"), "a_model_beats_the_baselines")
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            key.asset_key, key.name, passed=False, severity=severity, blocking=True
        )
    )
    assert open_checks(instance, [key]) == [key] * (severity == dg.AssetCheckSeverity.ERROR)
