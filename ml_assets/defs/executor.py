"""How a run is executed, whoever started it: one at a time, and on input that is sound.

Runs of the UI, of sensors, schedules and Dagster's command line come here. `ml-assets run` excludes
them itself, over all of its runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import dagster as dg
from dagster._core.errors import raise_execution_interrupts
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.storage.tags import (
    MAX_RETRIES_TAG,
    RETRY_ON_ASSET_OR_OP_FAILURE_TAG,
    RETRY_STRATEGY_TAG,
)

from ml_assets.defs.assets import failed_by_outage
from ml_assets.defs.automation import TURN
from ml_assets.defs.instance import records_kept_open
from ml_assets.defs.partitions import DAYS
from ml_assets.defs.unfinished import open_checks
from ml_assets.errors import GateError, OutageError, RoleError
from ml_assets.operations.pending import kept_finish
from ml_assets.releases.roles import authorize
from ml_assets.settings import Settings, secret
from ml_assets.stores import postgres
from ml_assets.stores.patience import outages_awaited
from ml_assets.stores.postgres.locks import at_work

PATIENCE = 180.0
"""Seconds that a run waits for a store that does not answer, each time that it opens one."""

_AGAIN = {RETRY_ON_ASSET_OR_OP_FAILURE_TAG: "true", MAX_RETRIES_TAG: "24"}
"""The tags of a run that an outage failed. Those launched for it wait in the queue like others."""


def in_turn(
    settings: Settings, checks: Iterable[dg.AssetChecksDefinition]
) -> dg.ExecutorDefinition:
    """Dagster's in-process executor; a run waits for its turn, and for none of `checks` to block.

    The second of two runs is started, says in its log that it waits, and can be ended meanwhile.
    """
    blocking = [spec.key for each in checks for spec in each.check_specs if spec.blocking]
    return dg.ExecutorDefinition(
        name="in_process",
        config_schema=dg.in_process_executor.config_schema.as_field(),
        executor_creation_fn=lambda _: _InTurn(settings, blocking),
    )


class _InTurn(InProcessExecutor):
    def __init__(self, settings: Settings, blocking: list[dg.AssetCheckKey]) -> None:
        super().__init__(RetryMode.ENABLED)
        self._settings, self._blocking = settings, blocking

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Run the steps when no other run is at work.

        Raises:
            GateError: a step would read what did not pass its check.
            RoleError: the actor of the settings is no trainer.
        """
        run, instance = plan_context.dagster_run, plan_context.instance
        url, home = secret(self._settings.postgres_url), self._settings.home

        def tell(line: str) -> None:
            instance.report_engine_event(line, run)

        def lost(line: str) -> None:
            # Interrupted, it would end as canceled, and later: what is native does not listen.
            try:
                instance.report_run_failed(run, line)
            finally:
                os._exit(1)

        # A run that is launched again for one that failed has the tags of that one.
        instance.add_run_tags(run.run_id, {TURN: run.run_id, RETRY_STRATEGY_TAG: "ALL_STEPS"})
        with ExitStack() as turns:
            turns.enter_context(outages_awaited(PATIENCE, tell))
            try:
                with raise_execution_interrupts():  # who waits can be ended
                    turns.enter_context(at_work(url, home, run.run_id, tell, lost))
            except OutageError:
                instance.add_run_tags(run.run_id, _AGAIN)
                raise
            self._refuse_unentitled(plan_context)
            self._refuse_unsound_input(plan_context)
            failed: list[str] = []
            if _is_of_days(plan_context):
                failed = turns.enter_context(kept_finish(self._settings))
            turns.enter_context(records_kept_open(instance))
            for event in super().execute(plan_context, execution_plan):
                if event.is_step_failure:
                    failed.append(str(event.step_key))
                    if failed_by_outage(event):
                        instance.add_run_tags(run.run_id, _AGAIN)
                yield event

    def _refuse_unentitled(self, plan_context: PlanOrchestrationContext) -> None:
        settings, run_id = self._settings, plan_context.run_id
        with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
            try:
                authorize(connection, settings.actor, "run", f"run {run_id}")
            except RoleError:
                plan_context.instance.add_run_tags(run_id, {MAX_RETRIES_TAG: "0"})
                raise

    def _refuse_unsound_input(self, plan_context: PlanOrchestrationContext) -> None:
        layer = plan_context.job.get_definition().asset_layer
        made = layer.selected_asset_keys
        read = {parent for key in made for parent in layer.get(key).parent_keys} - made
        keys = [key for key in self._blocking if key.asset_key in read]
        if failed := open_checks(plan_context.instance, keys):
            names = ", ".join(f"{key.name} of {key.asset_key.to_user_string()}" for key in failed)
            # To launch it again would end the same.
            plan_context.instance.add_run_tags(plan_context.run_id, {MAX_RETRIES_TAG: "0"})
            raise GateError(
                f"{names} did not pass, and this run would build on it",
                do="Mend it as the check says, and materialize that asset again",
            )


def _is_of_days(plan_context: PlanOrchestrationContext) -> bool:
    """Whether a run writes nothing but what is kept by day, which no `ml-assets run` reads."""
    layer = plan_context.job.get_definition().asset_layer
    # A job of checks alone has no asset.
    return {layer.get(key).partitions_def for key in layer.selected_asset_keys} == {DAYS}
