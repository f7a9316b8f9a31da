"""The automation conditions, each named and tested tick by tick."""

from __future__ import annotations

from functools import partial

import dagster as dg
from dagster import AutomationCondition as When
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from ml_assets.defs.assets import VERSION_OF_PARTITION, key

TURN = "ml_assets/turn"
"""The tag of runs that excluded all others while they wrote; those of one command share its value.
Between an update and such a run, no other update can have come."""

_SOUND = When.all_deps_match(
    When.will_be_requested() | When.all_checks_match(When.check_passed(), blocking_only=True)
).with_label("all_deps_blocking_checks_passed")
"""Dagster's own condition of this name holds back what is requested in one run with its input, too;
there, the run itself does not go past a check that fails."""

_HALF = (
    When.any_deps_match(When.execution_failed() & ~When.will_be_requested())
    .allow(dg.AssetSelection.groups("search"))
    .with_label("half_of_the_indexes_follow")
)
"""An index that failed is behind those that did not: to evaluate them would compare two states. Of
documents the collections that could be read go on alone."""


class _RunsAtWork(When[dg.AssetKey]):
    """Any run is queued or under way, or told something since the look began: that is half of it.

    Dagster's `in_progress` does not see a run over a range of dynamic partitions, as all are that
    the sensor of collections asks for: indexes were asked for between two of its steps. And a look
    knows the events of its beginning alone: of a run that ended after that it would see a part.
    """

    @property
    def name(self) -> str:
        return "runs_at_work"

    @property
    def requires_cursor(self) -> bool:
        return False

    async def evaluate(  # type: ignore[override]  # Dagster awaits what can be awaited
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        view, unfinished = context.asset_graph_view, dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)
        # In this order: what a run told is there before it has ended.
        running = view.instance.get_runs_count(unfinished) > 0
        latest = view.instance.event_log_storage.get_maximum_record_id() or 0
        at_work = running or latest > (view.last_event_id or 0)
        nothing = context.get_empty_subset()
        return dg.AutomationResult(context, context.candidate_subset if at_work else nothing)


_NOT_IN_VAIN = (
    ~When.any_deps_missing()
    & _SOUND
    & ~_HALF
    & ~When.any_deps_in_progress()
    & ~When.in_progress()
    & ~_RunsAtWork()
)


class _DataChanged(When[dg.AssetKey]):
    """The data of the asset, or of a partition, are others than at the last look.

    Dagster's `data_version_changed` compares what all partitions of a step share, so that a run
    over other partitions than the one before seems to change them all. Here each has its own.
    """

    @property
    def name(self) -> str:
        return "data_changed"

    @property
    def requires_cursor(self) -> bool:
        return False

    async def evaluate(  # type: ignore[override]  # Dagster awaits what can be awaited
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        view, last = context.asset_graph_view, context.previous_temporal_context
        if last is None:
            return dg.AutomationResult(context, context.get_empty_subset())
        updated = await view.compute_updated_since_temporal_context_subset(
            key=context.key, temporal_context=last
        )
        look = partial(_is_other, view.instance, last.last_event_id or 0, view.last_event_id or 0)
        changed = set(filter(look, updated.expensively_compute_asset_partitions()))
        return dg.AutomationResult(
            context, view.get_asset_subset_from_asset_partitions(context.key, changed)
        )


def _is_other(
    instance: dg.DagsterInstance, last: int, now: int, partition: AssetKeyPartitionKey
) -> bool:
    """Whether the data at the event `now` are others than at the event `last`.

    What does not say its version is taken for changed. What came after `now` is left to the next
    look.
    """
    asset, name = partition
    select = partial(dg.AssetRecordsFilter, asset, [name] if name else None)
    before = _latest_version(instance, select(before_storage_id=last + 1))
    since = _latest_version(instance, select(after_storage_id=last, before_storage_id=now + 1))
    return since is not None and since != before


def _latest_version(
    instance: dg.DagsterInstance, records_filter: dg.AssetRecordsFilter
) -> str | None:
    for record in instance.fetch_materializations(records_filter, limit=1).records:
        event = record.asset_materialization
        own = event.metadata.get(VERSION_OF_PARTITION) if event else None
        tags = (event.tags if event else None) or {}
        return str(own.value if own else tags.get("dagster/data_version", record.storage_id))
    return None


_UPDATED = (
    When.any_deps_match(
        (_DataChanged() & ~When.executed_with_root_target()) | When.will_be_requested()
    )
    | When.code_version_changed()
).with_label("updated")

_UNHANDLED = _UPDATED.since(
    (When.newly_requested() & ~_UPDATED)
    | When.initial_evaluation()
    | (When.newly_updated() & When.any_new_update_has_run_tags(tag_keys={TURN}))
).with_label("updated_and_not_handled")
"""A run that was asked for takes the update, and so does one that began after it.

What comes between the request and the next look, or while a run of another kind is at work on the
asset, is kept: that run may not have seen it.
"""

_ASKED = When.newly_requested().since(_UPDATED)
_ASKED_AGAIN = (When.newly_requested() & _ASKED & ~_ASKED.newly_true()).since(_UPDATED)
_FAILED = When.execution_failed() & When.execution_failed().newly_true().since(_UPDATED)
_RETRY = (_FAILED & _ASKED & ~_ASKED_AGAIN).with_label("failed_once")
"""The run that was asked for failed: it is asked for once more, until there is an update again."""

_ABSENT = When.newly_missing().since(When.newly_requested())


ON_NEW_DATA = ((_ABSENT | _UNHANDLED | _RETRY) & _NOT_IN_VAIN).with_label("on_new_data")
"""Follow the assets upstream: once per change of their data, or of the asset's own code.

Nothing is requested past a blocking check that failed.
"""

_WORN = When.asset_matches(
    key("search_evaluation"),
    When.any_checks_match(When.check_failed()).allow(
        dg.AssetSelection.checks(dg.AssetCheckKey(key("search_evaluation"), "indexes_are_not_worn"))
    ),
)
_NEWLY_WORN = _WORN.newly_true().since(When.newly_requested() | When.initial_evaluation())

ON_NEW_DATA_OR_WEAR = ((_ABSENT | _UNHANDLED | _NEWLY_WORN | _RETRY) & _NOT_IN_VAIN).with_label(
    "on_new_data_or_wear"
)
"""Also when the check `indexes_are_not_worn` fails: the asset builds a worn index anew.

Only when the check turns from passed to failed, so that an index which building anew does not mend
is not built again and again.
"""
