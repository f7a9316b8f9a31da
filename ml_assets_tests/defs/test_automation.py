"""The automation condition, tick by tick."""

import dagster as dg
import pytest

from ml_assets.defs.automation import ON_NEW_DATA, ON_NEW_DATA_OR_WEAR, TURN
from ml_assets.defs.build import build_definitions
from ml_assets.defs.documents.assets import chunks, collections, raw_documents
from ml_assets.defs.embeddings.assets import embeddings
from ml_assets.defs.jobs import refresh_documents
from ml_assets.defs.partitions import range_tags, register_collections
from ml_assets.documents.model import Document
from ml_assets.settings import Settings
from ml_assets_tests.fakes import HashEncoder, MemorySource, unplugged

FOLLOWING = {
    "chunks",
    "embeddings",
    "pgvector_index",
    "chroma_index",
    "keyword_index",
    "search_evaluation",
    "published_search",
}


def pass_checks(instance: dg.DagsterInstance, defs: dg.Definitions, *assets: str) -> None:
    """Report that every check of these assets that blocks has passed."""
    for check in defs.resolve_asset_graph().asset_check_keys:
        if check.asset_key.to_user_string() in assets:
            evaluation = dg.AssetCheckEvaluation(check.asset_key, check.name, passed=True)
            instance.report_runless_asset_event(evaluation)


@dg.asset
def upstream() -> None: ...


@dg.asset(deps=[upstream], automation_condition=ON_NEW_DATA)
def downstream() -> None: ...


def test_requests_once_per_update_and_never_for_a_failure(instance: dg.DagsterInstance) -> None:
    defs = dg.Definitions(assets=[upstream, downstream])

    def tick(cursor: object) -> tuple[int, object]:
        result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
        return result.total_requested, result.cursor

    requested, cursor = tick(None)
    assert requested == 0  # upstream is missing
    dg.materialize([upstream], instance=instance)
    requested, cursor = tick(cursor)
    assert requested == 1
    # The request is not repeated, though nothing was materialized: as after a failed run.
    for _ in range(3):
        requested, cursor = tick(cursor)
        assert requested == 0
    dg.materialize([upstream], instance=instance)
    requested, cursor = tick(cursor)
    assert requested == 1
    dg.materialize([downstream], instance=instance, selection=["downstream"])
    requested, cursor = tick(cursor)
    assert requested == 0


def test_a_look_waits_for_a_run_that_ended_after_it_began(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows the events of its beginning: of what such a run did it may see the first half."""
    defs = dg.Definitions(assets=[upstream, downstream])
    storage = instance.event_log_storage
    dg.materialize([upstream], instance=instance)
    cursor = dg.evaluate_automation_conditions(defs=defs, instance=instance).cursor
    dg.materialize([upstream], instance=instance)
    began = storage.get_maximum_record_id()

    def tick(*known: int | None) -> int:
        nonlocal cursor
        ids = iter(known)
        with monkeypatch.context() as patched:
            real = storage.get_maximum_record_id
            patched.setattr(storage, "get_maximum_record_id", lambda: next(ids, None) or real())
            result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
        cursor = result.cursor
        return result.total_requested

    dg.materialize([upstream], instance=instance)
    assert tick(began) == 0
    assert tick() == 1
    assert tick() == 0


class Ticks:
    """An upstream asset with a data version, one that follows it, and the ticks of automation."""

    def __init__(self, instance: dg.DagsterInstance, code_version: str = "1") -> None:
        self.instance = instance
        self.cursor: object = None
        self.during: list[int] = []
        self.fails = False
        self.define(code_version)

    def define(self, code_version: str) -> None:
        @dg.asset
        def source(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return dg.MaterializeResult(data_version=dg.DataVersion(context.run.tags["version"]))

        @dg.asset(deps=[source], automation_condition=ON_NEW_DATA, code_version=code_version)
        def target(context: dg.AssetExecutionContext) -> None:
            if version := context.run.tags.get("meanwhile"):
                self.update(version)
                self.during.append(self.tick())
            if self.fails:
                raise ValueError

        self.assets = [source, target]

    def update(self, version: str, **tags: str) -> None:
        self.run("source", version=version, **tags)

    def run(self, name: str, **tags: str) -> None:
        selected = {"instance": self.instance, "selection": [name], "tags": tags}
        dg.materialize(self.assets, raise_on_error=False, **selected)  # type: ignore[arg-type]

    def tick(self) -> int:
        result = dg.evaluate_automation_conditions(
            defs=dg.Definitions(assets=self.assets), instance=self.instance, cursor=self.cursor
        )
        self.cursor = result.cursor
        return result.total_requested


def test_an_update_that_comes_during_a_run_is_not_lost(instance: dg.DagsterInstance) -> None:
    ticks = Ticks(instance)
    assert ticks.tick() == 0
    ticks.update("1")
    assert ticks.tick() == 1
    ticks.run("target", meanwhile="2")
    assert ticks.during == [0]
    assert [ticks.tick(), ticks.tick()] == [1, 0]


def test_equal_data_are_no_update(instance: dg.DagsterInstance) -> None:
    ticks = Ticks(instance)
    ticks.update("1")
    ticks.run("target")
    assert ticks.tick() == 0
    ticks.update("1")
    assert ticks.tick() == 0
    ticks.update("2")
    assert ticks.tick() == 1


def test_a_run_that_excluded_the_others_took_the_update(instance: dg.DagsterInstance) -> None:
    """As one at the prompt does: nothing is asked for that is done already."""
    ticks = Ticks(instance)
    ticks.update("1")
    ticks.run("target")
    assert ticks.tick() == 0
    ticks.update("2", **{TURN: "x"})
    ticks.run("target", **{TURN: "x"})
    assert [ticks.tick(), ticks.tick()] == [0, 0]


def test_a_failure_is_asked_for_once_more(instance: dg.DagsterInstance) -> None:
    ticks = Ticks(instance)
    ticks.update("1")
    ticks.run("target")
    assert ticks.tick() == 0
    for version in ("2", "3"):
        ticks.update(version)
        assert ticks.tick() == 1
        ticks.fails = True
        ticks.run("target")
        assert ticks.tick() == 1
        ticks.run("target")
        assert [ticks.tick() for _ in range(3)] == [0, 0, 0]
        ticks.fails = False
        ticks.run("target")
        assert ticks.tick() == 0


def test_other_code_is_asked_for(instance: dg.DagsterInstance) -> None:
    ticks = Ticks(instance)
    ticks.update("1")
    ticks.run("target")
    assert ticks.tick() == 0
    ticks.define("2")
    assert [ticks.tick(), ticks.tick()] == [1, 0]


def test_code_versions_follow_code_and_parameters(settings: Settings) -> None:
    def versions(**more: object) -> dict[str, str | None]:
        graph = build_definitions(settings.model_copy(update=more)).resolve_asset_graph()
        keys = graph.get_all_asset_keys()
        return {key.to_user_string(): graph.get(key).code_version for key in keys}

    before = versions()
    assert len(set(before.values())) > 10
    assert versions() == before
    after = versions(chunk_tokens=100)
    assert {name for name in before if before[name] != after[name]} == {"chunks"}
    after = versions(hnsw_m=8)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"pgvector_index", "chroma_index"}


@pytest.mark.parametrize("guard", ["a missing input", "an input at work", "its own run"])
def test_nothing_is_requested_past_a_guard(instance: dg.DagsterInstance, guard: str) -> None:
    """Nothing is requested while an input is missing, or while it or the asset is at work."""
    during: list[int] = []

    def tick() -> int:
        nonlocal cursor
        result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
        cursor = result.cursor
        return result.get_num_requested(dg.AssetKey("last"))

    def work(context: dg.AssetExecutionContext) -> None:
        if context.run.tags.get("meanwhile"):
            instance.report_runless_asset_event(dg.AssetMaterialization("upstream"))
            during.append(tick())

    @dg.asset
    def other(context: dg.AssetExecutionContext) -> None:
        work(context)

    @dg.asset(deps=[upstream, other], automation_condition=ON_NEW_DATA)
    def last(context: dg.AssetExecutionContext) -> None:
        work(context)

    assets = [upstream, other, last]
    defs, cursor = dg.Definitions(assets=assets), None
    dg.materialize([upstream], instance=instance)
    if guard == "a missing input":
        assert tick() == 0
        dg.materialize([upstream], instance=instance)
        assert tick() == 0
        dg.materialize([other], instance=instance)
    else:
        dg.materialize(assets, instance=instance)
        assert tick() == 0
        name = "other" if guard == "an input at work" else "last"
        dg.materialize(assets, instance=instance, selection=[name], tags={"meanwhile": "yes"})
        assert during == [0]
    if guard != "its own run":
        assert tick() == 1


def test_every_asset_from_chunks_to_published_search_follows(settings: Settings) -> None:
    graph = build_definitions(settings).resolve_asset_graph()
    following = {
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if graph.get(key).automation_condition is not None
    }
    assert following == FOLLOWING
    for name in following:
        graphs = name in ("pgvector_index", "chroma_index")
        expected = ON_NEW_DATA_OR_WEAR if graphs else ON_NEW_DATA
        assert graph.get(dg.AssetKey(name)).automation_condition == expected


def test_an_update_of_documents_reaches_the_chunks_of_that_collection(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    defs = build_definitions(settings)
    instance.add_dynamic_partitions("collections", ["a", "b"])
    first = dg.evaluate_automation_conditions(defs=defs, instance=instance)
    assert first.total_requested == 0
    instance.report_runless_asset_event(dg.AssetMaterialization("raw_documents", partition="b"))
    second = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=first.cursor)
    assert second.total_requested == 0  # the check that blocks was not made yet
    pass_checks(instance, defs, "raw_documents")
    third = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=second.cursor)
    assert third.get_requested_partitions(dg.AssetKey("chunks")) == {"b"}
    assert third.get_requested_partitions(dg.AssetKey("embeddings")) == {"b"}


def test_what_was_read_goes_on_though_another_collection_failed(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    encoder: HashEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assets = [collections, raw_documents, chunks, embeddings]
    defs = dg.Definitions(assets=assets, jobs=[refresh_documents], resources=resources)
    source.documents = [Document(f"x{name}", name, "One.") for name in "abc"]
    monkeypatch.setattr(source, "read", unplugged(source, "b").read)
    register_collections(instance, "abc")
    before = dg.evaluate_automation_conditions(defs=defs, instance=instance)
    run = defs.resolve_job_def("refresh_documents").execute_in_process(
        instance=instance,
        tags=range_tags(dg.PartitionKeyRange("a", "c")),
        raise_on_error=False,
    )
    assert not run.success
    tick = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=before.cursor)
    for name in ("chunks", "embeddings"):
        assert tick.get_requested_partitions(dg.AssetKey(name)) == {"a", "c"}
    again = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=tick.cursor)
    assert again.total_requested == 0


def test_a_run_over_other_partitions_is_no_update_of_what_it_leaves_as_it_was(
    instance: dg.DagsterInstance, resources: dict[str, object], source: MemorySource
) -> None:
    """As `ml-assets run --until documents` over others than the run before."""

    @dg.asset(deps=[chunks, embeddings], automation_condition=ON_NEW_DATA)
    def index() -> None: ...

    assets = [collections, raw_documents, chunks, embeddings, index]
    defs = dg.Definitions(assets=assets, jobs=[refresh_documents], resources=resources)
    source.documents = [Document(f"x{name}", name, "One.") for name in "abc"]
    register_collections(instance, "abc")
    cursor: object = None

    def tick() -> int:
        nonlocal cursor
        result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
        cursor = result.cursor
        return result.total_requested

    def refresh(first: str, last: str) -> None:
        defs.resolve_job_def("refresh_documents").execute_in_process(
            instance=instance,
            tags={**range_tags(dg.PartitionKeyRange(first, last)), TURN: f"{first}{last}"},
        )

    refresh("a", "c")
    instance.report_runless_asset_event(dg.AssetMaterialization("index"))
    assert tick() == 0
    refresh("a", "b")
    assert tick() == 0
    source.documents[1] = Document("xb", "b", "Another.")
    refresh("b", "c")
    assert tick() == 1


def test_a_worn_index_is_requested_once_until_it_was_mended(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    """The check turns to failed: both vector indexes are requested; then no more.

    The evaluation follows in the same tick, as it does after all that it depends on.
    """
    defs = build_definitions(settings)
    cursor = None

    def tick() -> set[str]:
        nonlocal cursor
        result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
        cursor = result.cursor
        names = ("pgvector_index", "chroma_index", "keyword_index", "search_evaluation")
        return {name for name in names if result.get_num_requested(dg.AssetKey(name))}

    def report(passed: bool) -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization("search_evaluation"))
        tick()  # what follows the evaluation itself
        for name, is_worn in (("indexes_are_not_worn", not passed), ("another_check", True)):
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey("search_evaluation"),
                    check_name=name,
                    passed=not is_worn,
                    metadata={},
                )
            )

    for name in ("embeddings", "chunks"):
        instance.add_dynamic_partitions("collections", ["a"])
        instance.report_runless_asset_event(dg.AssetMaterialization(name, partition="a"))
    for name in ("pgvector_index", "chroma_index", "keyword_index"):
        instance.report_runless_asset_event(dg.AssetMaterialization(name))
    pass_checks(instance, defs, "embeddings", "chunks")
    tick()
    report(passed=True)
    assert tick() == set()
    report(passed=False)
    assert tick() == {"pgvector_index", "chroma_index", "search_evaluation"}
    for _ in range(3):
        assert tick() == set()
    report(passed=True)
    assert tick() == set()
    report(passed=False)
    assert tick() == {"pgvector_index", "chroma_index", "search_evaluation"}


def test_indexes_are_not_evaluated_while_one_of_them_is_behind(
    instance: dg.DagsterInstance,
) -> None:
    """A store is away, longer for one index than for the other; both were asked for twice."""
    away: set[str] = set()

    def index(name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name, group_name="search", deps=[upstream], automation_condition=ON_NEW_DATA)
        def built() -> None:
            if name in away:
                raise ValueError

        return built

    indexes = [index("left"), index("right")]

    @dg.asset(group_name="search", deps=indexes, automation_condition=ON_NEW_DATA)
    def evaluation() -> None: ...

    assets, cursor = [upstream, *indexes, evaluation], None

    def tick() -> set[str]:
        nonlocal cursor
        result = dg.evaluate_automation_conditions(
            defs=dg.Definitions(assets=assets), instance=instance, cursor=cursor
        )
        cursor = result.cursor
        names = {each.key.to_user_string() for each in assets}
        return {name for name in names if result.get_num_requested(dg.AssetKey(name))}

    def run(*names: str) -> None:
        dg.materialize(assets, instance=instance, selection=[*names], raise_on_error=False)

    asked = {"left", "right", "evaluation"}
    run("upstream", *asked)
    assert tick() == set()
    run("upstream")
    assert tick() == asked
    away.update(("left", "right"))
    run(*asked)
    assert tick() == asked
    away.remove("left")
    run(*asked)
    assert [tick(), tick()] == [set(), set()]
    away.clear()
    run("right")
    assert tick() == {"evaluation"}
