from dataclasses import replace

import dagster as dg
import pytest

from ml_assets.defs import schedules, sensors
from ml_assets.defs.documents.assets import chunks, collections, raw_documents
from ml_assets.defs.embeddings.assets import embeddings
from ml_assets.defs.embeddings.checks import vectors_have_unit_norm
from ml_assets.defs.partitions import (
    PARTITIONS_NAME,
    contiguous_ranges,
    range_tags,
    register_collections,
)
from ml_assets.defs.resources import EncoderResource, PostgresResource
from ml_assets.documents.model import Document
from ml_assets.documents.refresh import refresh_documents
from ml_assets.documents.sources import Source
from ml_assets.embeddings.encoder import Encoder
from ml_assets.errors import SourceError, WeightsError
from ml_assets.settings import Settings
from ml_assets_tests.fakes import MemorySource, unplugged
from ml_assets_tests.graph import Run, evaluate
from ml_assets_tests.servers import free_port


@dg.job
def nothing() -> None: ...


def tick(
    instance: dg.DagsterInstance, resources: dict[str, object]
) -> tuple[list[tuple[str, str]], list[dg.RunRequest], str | None]:
    context = dg.build_sensor_context(instance=instance)
    asked = {name: resources[name] for name in ("source", "encoder", "postgres")}
    yielded = list(evaluate(sensors.collections_sensor, context, **asked))
    requests = [item for item in yielded if isinstance(item, dg.RunRequest)]
    skips = [item.skip_message for item in yielded if isinstance(item, dg.SkipReason)]
    ranges = [tuple(request.tags.values()) for request in requests]
    return ranges, requests, skips[0] if skips else None  # type: ignore[return-value]


def test_requests_what_changed_and_only_that(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    materialize: Run,
) -> None:
    source.documents = [Document(f"x{name}", name, f"Text {name}.") for name in "abcd"]
    ranges, requests, _ = tick(instance, resources)
    assert ranges == [("a", "d")]
    again = tick(instance, resources)[1]
    assert [request.run_key for request in again] == [request.run_key for request in requests]
    materialize()
    ranges, _, skip = tick(instance, resources)
    assert (ranges, skip) == ([], "4 collections of memory, none changed")
    source.documents[0] = Document("xa", "a", "Edited.")
    source.documents[3] = Document("xd", "d", "Edited.")
    ranges, changed, _ = tick(instance, resources)
    assert ranges == [("a", "a"), ("d", "d")]
    assert changed[0].run_key != requests[0].run_key
    # Back and forth: the state of the source was requested before, the difference was not.
    materialize()
    source.documents[0] = Document("xa", "a", "Text a.")
    source.documents[3] = Document("xd", "d", "Text d.")
    reverted = tick(instance, resources)[1]
    assert {request.run_key for request in reverted}.isdisjoint(
        request.run_key for request in [*requests, *changed]
    )


def test_a_collection_that_failed_is_tried_alone_and_once(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    materialize: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source.documents = [Document(f"x{name}", name, "Text.") for name in "abc"]
    monkeypatch.setattr(source, "read", unplugged(source, "b").read)
    seen = {request.run_key for request in tick(instance, resources)[1]}
    materialize(raise_on_error=False)
    ranges, requests, _ = tick(instance, resources)
    assert ranges == [("a", "a"), ("c", "c"), ("b", "b")]
    keys = [request.run_key for request in requests]
    assert seen.isdisjoint(keys)
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    with postgres.connect() as connection:
        refresh_documents(connection, source, ["b"])
    # It failed again, and nothing else changed.
    assert [request.run_key for request in tick(instance, resources)[1]] == keys


def test_a_run_that_fails_is_repeated_once_for_what_it_left_behind(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    materialize: Run,
) -> None:
    def missing(*_: object) -> Encoder:
        raise WeightsError("the weights are missing")

    source.documents = [Document("x", "a", "Text.")]
    encoder = resources["encoder"]
    assert isinstance(encoder, EncoderResource)
    resources["encoder"] = replace(encoder, load=missing)
    keys = []
    for _ in range(4):
        (request,) = tick(instance, resources)[1]
        keys.append(request.run_key)
        assert not materialize(raise_on_error=False).success
    assert len(set(keys)) == 2
    assert keys[1] == keys[2] == keys[3]


def test_a_partition_that_dagster_does_not_know_of_is_requested(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    materialize: Run,
) -> None:
    source.documents = [Document(f"x{name}", name, "Text.") for name in "ab"]
    materialize()
    # As after a process that was killed between its commit and the event log.
    instance.wipe_assets([dg.AssetKey("embeddings")])
    assert tick(instance, resources)[0] == [("a", "b")]
    materialize()
    assert tick(instance, resources)[0] == []


def test_a_source_that_cannot_be_read_is_a_reason_to_skip(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
) -> None:
    def missing() -> Source:
        raise SourceError("no such file", where="/data/x.csv", do="Look again")

    unreadable = {**resources, "source": missing}
    assert tick(instance, unreadable) == ([], [], "/data/x.csv: no such file. Look again")


def test_nothing_is_requested_while_a_run_is_at_work(
    instance: dg.DagsterInstance, resources: dict[str, object], source: MemorySource
) -> None:
    source.documents = [Document("x", "a", "Text.")]
    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
    assert "A run is at work" in str(tick(instance, resources)[2])
    instance.report_run_canceled(run)
    assert tick(instance, resources)[0] == [("a", "a")]


def train(instance: dg.DagsterInstance, resources: dict[str, object], **more: float) -> str:
    """The run key of the request for models, or why there is none."""
    settings = resources["settings"]
    assert isinstance(settings, Settings)
    (item,) = evaluate(
        sensors.labels_sensor,
        dg.build_sensor_context(instance=instance),
        settings=settings.model_copy(update=more),
        encoder=resources["encoder"],
        postgres=resources["postgres"],
        duckdb=resources["duckdb"],
    )
    message = item.run_key if isinstance(item, dg.RunRequest) else item.skip_message
    return str(message)


def test_models_are_requested_after_so_many_labels_or_so_long(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    materialize: Run,
) -> None:
    source.documents = [Document(f"x{n}", "a", f"Text {n}.") for n in range(5)]
    materialize()
    assert train(instance, resources).startswith("0 labelled")
    source.documents[0] = Document("x0", "a", "Text 0.", label="l")
    materialize()
    # The first models are not waited for.
    assert train(instance, resources).startswith("None:0:")
    instance.report_runless_asset_event(dg.AssetMaterialization("training_set"))
    assert train(instance, resources).startswith("0 labelled")
    source.documents = [Document(f"x{n}", "a", f"Text {n}.", label="l") for n in range(4)]
    materialize()
    assert train(instance, resources).startswith("3 labelled")
    assert ":1:" in train(instance, resources, retrain_after_labels=3)
    assert ":0:" in train(instance, resources, retrain_after_days=0)


def test_no_models_are_requested_on_vectors_that_failed_their_check(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    materialize: Run,
) -> None:
    source.documents = [Document("x", "a", "Text.", label="l")]
    materialize()
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    with postgres.connect() as connection:
        connection.execute("update document_embeddings set embedding = embedding + embedding")
    materialize(vectors_have_unit_norm, raise_on_error=False)
    assert train(instance, resources) == "embeddings:vectors_have_unit_norm did not pass"


def test_no_models_are_requested_before_a_killed_run_was_made_up_for(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    materialize: Run,
) -> None:
    source.documents = [Document("x", "a", "Text.", label="l")]
    materialize()
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    with postgres.connect() as connection:
        connection.execute("delete from document_embeddings")
    assert train(instance, resources) == "1 collections wait for their vectors, as a"
    materialize()
    assert train(instance, resources).startswith("None:0:")


def test_the_schedule_covers_every_collection(
    resources: dict[str, object], source: MemorySource
) -> None:
    source.documents = [Document(f"x{name}", name, "Text.") for name in "abc"]
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)

    def ranges() -> list[tuple[str, ...]]:
        context, source = dg.build_schedule_context(instance=instance), resources["source"]
        return [
            (*[*request.tags.values()][:2], len(request.asset_selection or ()))
            for request in evaluate(
                schedules.daily_refresh, context, source=source, postgres=postgres
            )
        ]

    with dg.instance_for_test() as instance:
        assert ranges() == [("a", "c", 0)]
        with postgres.connect() as connection:
            refresh_documents(connection, unplugged(source, "b"), "abc")
        # A run that one partition fails trains no model: the one that may fail runs alone, before,
        # and search and models run once, with the last.
        assert ranges() == [("b", "b", 3), ("c", "c", 3), ("a", "a", 0)]
        # PostgreSQL is away at that moment: the runs wait for it.
        postgres = PostgresResource(
            url=f"postgresql://a@127.0.0.1:{free_port()}/b", home="", actor="tester"
        )
        assert ranges() == [("a", "c", 0)]


def test_a_collection_that_left_the_source_is_a_partition_until_it_is_emptied(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    materialize: Run,
) -> None:
    def partitions() -> list[str]:
        return list(instance.get_dynamic_partitions(PARTITIONS_NAME))

    days = [Document(f"x{name}", name, f"Text {name}.") for name in "abc"]
    source.documents = days
    materialize()
    source.documents = days[1:]
    assert tick(instance, resources)[0] == [("a", "a")]
    assert partitions() == ["a", "b", "c"]
    stages = [collections, raw_documents, chunks, embeddings]
    gone = range_tags(dg.PartitionKeyRange("a", "a"))
    dg.materialize(stages, resources=resources, instance=instance, tags=gone)
    waiting = instance.create_run_for_job(nothing)
    source.documents = days[1:]
    assert tick(instance, resources)[0] == []
    assert partitions() == ["a", "b", "c"], "a run that waits may name it"
    instance.delete_run(waiting.run_id)
    assert tick(instance, resources)[0] == []
    assert partitions() == ["b", "c"]
    # It comes back.
    source.documents = days
    assert tick(instance, resources)[0] == [("a", "a")]
    assert partitions() == ["b", "c", "a"]


def test_without_a_collection_nothing_is_asked_for_at_night(
    resources: dict[str, object], source: MemorySource
) -> None:
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(instance=instance)
        asked = {name: resources[name] for name in ("source", "postgres")}
        (skipped,) = evaluate(schedules.daily_refresh, context, **asked)
    assert skipped == dg.SkipReason("The source has no collection")


def test_ranges_hold_exactly_what_is_wanted(instance: dg.DagsterInstance) -> None:
    register_collections(instance, "abcdef")
    assert register_collections(instance, "abz") == ["z"]
    ranges = contiguous_ranges(instance, {"b", "c", "e", "z"})
    assert [(keys.start, keys.end) for keys in ranges] == [("b", "c"), ("e", "e"), ("z", "z")]
    assert contiguous_ranges(instance, []) == []
    assert list(range_tags(ranges[0]).values()) == ["b", "c"]
