"""A step that a store failed is tried again, and its run launched again; no other is."""

import errno
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator
from pydantic import SecretStr

from ml_assets.defs import assets, executor
from ml_assets.defs.assets import asset, check
from ml_assets.defs.executor import in_turn
from ml_assets.errors import (
    DamagedStoreError,
    FeatureViewError,
    GateError,
    OutageError,
    SourceError,
    StoreError,
)
from ml_assets.settings import Settings, load_settings
from ml_assets_tests.servers import free_port

OUTAGE = OutageError("does not answer", where="CHROMA_URL", do="Start it")


@pytest.fixture(autouse=True)
def _try_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_PAUSE_SECONDS", 0)


@pytest.fixture
def settings(tmp_path: object, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("POSTGRES_URL", postgres_url)
    return load_settings(home=tmp_path)


def tries(error: Exception, fails: int) -> tuple[int, int]:
    """How often an asset, and its check, are tried that fail so often with this error."""
    left, done = {"asset": fails, "check": fails}, {"asset": 0, "check": 0}

    def attempt(which: str) -> None:
        done[which] += 1
        left[which] -= 1
        if left[which] >= 0:
            raise error

    @asset()
    def written() -> dg.MaterializeResult:
        attempt("asset")
        return dg.MaterializeResult()

    @check(asset="written")
    def passes() -> dg.AssetCheckResult:
        attempt("check")
        return dg.AssetCheckResult(passed=True)

    dg.materialize([written, passes], raise_on_error=False)
    return done["asset"], done["check"]


def test_a_store_that_is_back_is_asked_again() -> None:
    assert tries(OUTAGE, fails=1) == (2, 2)


@pytest.mark.parametrize(
    ("error", "most"),
    [
        (OUTAGE, 3),
        (StoreError("no space left", do="Make some"), 2),
        (OSError(errno.ENOSPC, "No space left on device"), 2),
        (OSError(errno.EBADF, "Bad file descriptor"), 1),
        (SourceError("cannot be read", do="Look"), 2),
        (GateError("a gate blocks", do="See it"), 1),
        (FeatureViewError("was changed", do="Give it a version"), 1),
        (KeyError("a defect"), 1),
    ],
)
def test_tries_are_bounded(error: Exception, most: int) -> None:
    assert tries(error, fails=99) == (most, 0)


def test_a_step_that_yields_is_tried_again_too() -> None:
    done = []

    @asset()
    def written() -> Iterator[dg.MaterializeResult]:
        done.append(1)
        if len(done) == 1:
            raise OUTAGE
        yield dg.MaterializeResult()

    assert dg.materialize([written]).success
    assert len(done) == 2


def test_a_damaged_store_is_built_anew_by_the_next_try(tmp_path: object) -> None:
    assert tries(DamagedStoreError("cut", tmp_path), fails=1) == (2, 2)  # type: ignore[arg-type]


def run_of(settings: Settings, error: Exception) -> dg.DagsterRun:
    """The run of an asset that fails with this error, as a worker executes it."""

    @asset()
    def written() -> dg.MaterializeResult:
        raise error

    defs = dg.Definitions([written], executor=in_turn(settings, []))
    job = defs.resolve_implicit_global_asset_job_def()
    with dg.instance_for_test(
        overrides={
            "run_retries": {
                "enabled": True,
                "max_retries": 2,
                "retry_on_asset_or_op_failure": False,
            }
        }
    ) as instance:
        run = instance.create_run_for_job(job)
        for _ in execute_run_iterator(InMemoryJob(job), run, instance):
            pass
        ended = instance.get_run_by_id(run.run_id)
    assert ended
    assert ended.is_failure
    return ended


def test_a_run_that_an_outage_failed_is_launched_again(settings: Settings) -> None:
    tags = run_of(settings, OUTAGE).tags
    assert tags["dagster/will_retry"] == "true"
    assert tags["dagster/retry_strategy"] == "ALL_STEPS"
    assert tags["dagster/max_retries"] == "24"


def test_a_run_that_its_input_failed_is_not(settings: Settings) -> None:
    error = GateError("a gate blocks", do="See it")
    assert run_of(settings, error).tags["dagster/will_retry"] == "false"


def test_a_run_that_found_no_postgres_is_launched_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "PATIENCE", 0.2)
    away = SecretStr(f"postgresql://a@127.0.0.1:{free_port()}/b")
    tags = run_of(settings.model_copy(update={"postgres_url": away}), OUTAGE).tags
    assert tags["dagster/will_retry"] == "true"
    assert tags["dagster/max_retries"] == "24"
