import dagster as dg
import pytest

from ml_assets.defs.documents.assets import RAW_DOCUMENTS
from ml_assets.defs.partitions import COLLECTIONS, PARTITIONS_NAME
from ml_assets.documents.model import Document, Rejected
from ml_assets_tests.fakes import HashEncoder, MemorySource, unplugged
from ml_assets_tests.graph import Run


def metadata(result: dg.ExecuteInProcessResult, asset: str, partition: str) -> dict[str, object]:
    for event in result.asset_materializations_for_node(asset):
        if event.partition == partition:
            return {key: value.value for key, value in event.metadata.items()}
    raise AssertionError(f"no event of {asset} for {partition}")


def versions(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str | None], str]:
    return {
        (event.asset_key.to_user_string(), event.partition): (event.tags or {})[
            "dagster/data_version"
        ]
        for name in ("raw_documents", "chunks", "embeddings")
        for event in result.asset_materializations_for_node(name)
    }


def test_every_stage_reports_its_delta_per_collection(
    materialize: Run, source: MemorySource, encoder: HashEncoder
) -> None:
    source.documents = [
        Document("x", "a", "One."),
        Document("y", "a", "Two."),
        Document("z", "b", "One."),
    ]
    first = materialize()
    for asset in ("raw_documents", "chunks", "embeddings"):
        assert metadata(first, asset, "a")["added"] == 2
        assert metadata(first, asset, "b")["added"] == 1
    assert metadata(first, "embeddings", "a")["encoded_in_this_run"] == 2
    assert metadata(first, "embeddings", "a")["reused_in_this_run"] == 1
    assert len(encoder.texts) == 2


def test_a_rerun_without_changes_keeps_every_data_version(
    materialize: Run, source: MemorySource, encoder: HashEncoder
) -> None:
    source.documents = [Document("x", "a", "One."), Document("z", "b", "Three.")]
    first = versions(materialize())
    encoder.texts.clear()
    second = materialize()
    assert versions(second) == first
    assert metadata(second, "raw_documents", "a")["unchanged"] == 1
    assert encoder.texts == []
    source.documents[0] = Document("x", "a", "Edited.")
    assert versions(materialize()) != first
    assert encoder.texts == ["Edited."]


def test_collections_become_partitions(
    materialize: Run, source: MemorySource, instance: dg.DagsterInstance
) -> None:
    source.documents = [Document("x", "b", "One."), Document("y", "a c", "Two.")]
    materialize()
    assert instance.get_dynamic_partitions(PARTITIONS_NAME) == ["a c", "b"]


def test_a_collection_that_fails_fails_its_own_partition(
    materialize: Run,
    source: MemorySource,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source.documents = [Document(f"x{name}", name, "One.") for name in "abc"]
    first = versions(materialize())
    source.documents = [Document(f"x{name}", name, "Edited.") for name in "abc"]
    monkeypatch.setattr(source, "read", unplugged(source, "b").read)
    result = materialize(raise_on_error=False)
    assert not result.success
    assert metadata(result, "raw_documents", "a")["changed"] == 1
    assert metadata(result, "raw_documents", "c")["changed"] == 1
    second = versions(result)
    assert second.keys() == {("raw_documents", "a"), ("raw_documents", "c")}
    assert all(first[key] != version for key, version in second.items())
    checks = result.get_asset_check_evaluations()
    # All of them: automation goes on with what was read only where the blocking ones have passed.
    assert {check.check_name: check.passed for check in checks} == {
        "documents_are_as_they_were_read": True,
        "quarantined_rows_are_as_they_were_read": True,
        "rows_were_readable": True,
        "collections_were_readable": False,
    }
    states = instance.get_status_by_partition(RAW_DOCUMENTS, ["a", "b", "c"], COLLECTIONS)
    assert states
    shown = {name: state.value if state else None for name, state in states.items()}
    assert shown == {"a": "MATERIALIZED", "b": "FAILED", "c": "MATERIALIZED"}
    (failure,) = result.get_step_failure_events()
    error = failure.step_failure_data.error
    while error and error.cause:
        error = error.cause
    assert error
    assert error.message.strip().endswith(
        "collection 'b' stays as it was: b: the disk went away. Plug it in"
    )


def test_rejected_rows_do_not_stop_the_others(materialize: Run, source: MemorySource) -> None:
    source.documents = [Document("x", "a", "One."), Rejected("a", "f.csv:2", "no text")]
    assert metadata(materialize(), "raw_documents", "a")["added"] == 1
