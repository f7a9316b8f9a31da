"""What Prometheus reads of a deployment: by a scrape of the real exporter, and by real servers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import dagster as dg
import psycopg
import pytest
from dagster._core.test_utils import create_run_for_test
from prometheus_client.metrics_core import Metric
from psycopg import Connection

from ml_assets.defs.monitoring.exported import exported, records
from ml_assets.errors import StoreError
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets_tests.monitoring.alerting.examples import critical_alert
from ml_assets_tests.monitoring.scraping import (
    FOLDER,
    Watched,
    asked,
    exporter,
    instance,
    scrape,
    wait_for,
    watched,
)
from ml_assets_tests.servers import OLDEST_POSTGRES, program, replica, serving
from ml_assets_tests.servers.stack import MONITORING
from ml_assets_tests.servers.starting import free_port

__all__ = ["instance"]


@pytest.fixture
def settings(tmp_path: Path, postgres_url: str, connection: Connection[Any]) -> Settings:
    return load_settings(home=tmp_path / "home", postgres_url=postgres_url)


def flush(connection: postgres.Connection) -> None:
    """Have PostgreSQL count what this session did, which else takes a second."""
    connection.execute("select pg_stat_force_next_flush()")
    connection.execute("select 1")


def test_a_scrape_tells_of_stores_releases_and_alerts(
    settings: Settings, connection: postgres.Connection
) -> None:
    settings.home.mkdir()
    (settings.home / "offline.duckdb").write_bytes(b"x" * 1000)
    (settings.home / "chdb" / "store").mkdir(parents=True)
    (settings.home / "chdb" / "store" / "part").write_bytes(b"x" * 50)
    with exporter(settings) as port, critical_alert(connection):
        flush(connection)
        found = scrape(port)
        again = scrape(port)
    assert found["ml_assets_store_up"] == {"postgres": 1, "files": 1}
    assert found["ml_assets_store_read_seconds"].keys() == {"postgres", "files"}
    assert {"documents", "releases"} <= found["ml_assets_rows"].keys()
    assert found["ml_assets_table_bytes"]["alerts"] > 0
    assert found["ml_assets_store_bytes"]["postgres"] > 1_000_000
    assert 1 <= found["ml_assets_connections"][""] < found["ml_assets_connections_limit"][""]
    assert again["ml_assets_blocks_total"]["hit"] >= found["ml_assets_blocks_total"]["hit"] > 0
    assert found["ml_assets_transactions_total"]["commit"] > 0
    assert found["ml_assets_query_seconds_total"]["active"] > 0
    assert found["ml_assets_generations"] == {"kept": 0, "dropped": 0}
    assert found["ml_assets_releases"] == found["ml_assets_model_version"] == {"": 0}
    assert found["ml_assets_alerts_open"] == {"critical": 1, "warning": 0, "info": 0}
    assert found["ml_assets_alerts_waiting"] == {"": 1}
    assert found["ml_assets_file_bytes"]["duckdb"] == 1000
    assert found["ml_assets_file_bytes"]["chdb"] >= 50
    assert "ml_assets_replica_lag_seconds" not in found


def test_partitions_are_counted_with_their_table(
    settings: Settings, connection: postgres.Connection
) -> None:
    connection.execute(
        "create table parted (at integer) partition by range (at);"
        "create table parted_1 partition of parted for values from (0) to (10);"
        "create table parted_2 partition of parted for values from (10) to (20);"
        "insert into parted select generate_series(0, 19);"
        "analyze parted"
    )
    flush(connection)
    with exporter(settings) as port:
        found = scrape(port)
    assert found["ml_assets_rows"]["parted"] == 20
    assert "parted_1" not in found["ml_assets_rows"]


def test_a_store_that_is_away_is_told_and_the_others_are_read(settings: Settings) -> None:
    def away() -> Iterator[Metric]:
        raise StoreError("it is away", do="Wait")
        yield

    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    for given, up in (
        (settings, {"postgres": 1, "files": 1, "dagster": 0}),
        (
            load_settings(home=settings.home, postgres_url=nowhere),
            {"postgres": 0, "files": 1, "dagster": 0},
        ),
    ):
        with exporter(given, {"dagster": away}) as port:
            found = scrape(port)
        assert found["ml_assets_store_up"] == up
        assert found["ml_assets_store_read_seconds"].keys() == {n for n, each in up.items() if each}


def test_what_a_role_may_not_read_is_logged_once_and_the_others_are_read(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """One store that refuses once took the whole scrape with it, as exporters elsewhere do."""
    why = ["permission denied for table alerts"]

    def refused() -> Iterator[Metric]:
        if why:
            raise psycopg.errors.InsufficientPrivilege(why[0])
        yield from ()

    def logged() -> list[str]:
        return [each.message for each in caplog.records if "cannot be read" in each.message]

    with exporter(settings, {"more": refused}) as port:
        assert scrape(port)["ml_assets_store_up"] == {"postgres": 1, "files": 1, "more": 0}
        scrape(port)
        assert logged() == ["more cannot be read: permission denied for table alerts"]
        away = why.pop()
        assert scrape(port)["ml_assets_store_up"]["more"] == 1
        why.append(away)
        scrape(port)
    assert logged() == ["more cannot be read: permission denied for table alerts"] * 2


def test_readers_are_not_behind_on_a_server_that_is_no_replica(settings: Settings) -> None:
    url = settings.postgres_url
    with exporter(settings.model_copy(update={"postgres_read_url": url})) as port:
        found = scrape(port)
    assert found["ml_assets_store_up"]["postgres replica"] == 1
    assert "ml_assets_reader_lag_seconds" not in found


def test_how_far_a_replica_is_behind(
    settings: Settings, admin_url: str, postgres_admin: str, tmp_path: Path
) -> None:
    with replica(tmp_path / "replica", postgres_admin, OLDEST_POSTGRES) as copied:
        reader = urlunsplit(urlsplit(copied)._replace(path=urlsplit(admin_url).path))
        followed = load_settings(
            home=settings.home, postgres_url=admin_url, postgres_read_url=reader
        )
        with exporter(followed) as port:
            wait_for(lambda: "ml_assets_replica_lag_bytes" in scrape(port))
            found = scrape(port)
            wait_for(lambda: scrape(port).get("ml_assets_reader_lag_seconds") == {"": 0})
    (seconds,) = found["ml_assets_replica_lag_seconds"].values()
    assert 0 <= seconds < 60
    assert found["ml_assets_store_up"]["postgres replica"] == 1


def test_records_of_runs_are_told(instance: dg.DagsterInstance) -> None:
    for status in (
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.STARTED,
    ):
        create_run_for_test(instance, status=status)
    event = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("prediction_log"),
        check_name="no_segment_is_left",
        passed=False,
        metadata={},
    )
    instance.report_runless_asset_event(event)
    instance.event_log_storage.set_concurrency_slots("duckdb", 1)
    instance.event_log_storage.claim_concurrency_slot("duckdb", "run", "step")
    instance.event_log_storage.claim_concurrency_slot("duckdb", "other", "step")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in records(instance)
        for sample in family.samples
    }
    assert found["ml_assets_runs", "failure"] == 2
    assert found["ml_assets_runs", "started"] == 1
    assert found["ml_assets_runs", "success"] == 0
    assert found["ml_assets_check_failed", "prediction_log:no_segment_is_left"] == 1
    assert found["ml_assets_pool_used", "duckdb"] == 1
    assert found["ml_assets_pool_waiting", "duckdb"] == 1


def test_the_records_of_a_home_are_read(settings: Settings) -> None:
    names = {family.name for family in exported(settings)}
    assert {"ml_assets_runs", "ml_assets_check_failed", "ml_assets_pool_used"} <= names


def test_every_rule_fires_and_ceases_as_it_should(tmp_path: Path) -> None:
    text = Path(__file__).with_name("rules.test.yml").read_text()
    rules = (FOLDER / "rules.yml").read_text()
    for name in re.findall(r"alert: (\w+)", rules):
        quiet = re.search(rf"alertname: {name}, eval_time: \d+m, exp_alerts: \[\]", text)
        assert quiet, name
        assert re.search(rf"alertname: {name}\n", text), name
    file = tmp_path / "rules.test.yml"
    file.write_text(text.replace("RULES", str(FOLDER / "rules.yml")))
    check(program("promtool"), "test", "rules", str(file))


def test_the_files_are_accepted() -> None:
    check(program("promtool"), "check", "config", str(FOLDER / "prometheus.yml"))
    check(program("amtool"), "check-config", str(FOLDER / "alertmanager.yml"))


def check(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def health_checks(servers: Watched) -> Iterator[list[str]]:
    """The checks of compose, asked here."""
    places = {"prometheus": servers.prometheus, "alertmanager": servers.manager}
    for server in MONITORING:
        if url := places.get(server.name):
            _, name, *words = server.health
            asked_here = [re.sub(r"http://127\.0\.0\.1:\d+", url, word) for word in words]
            yield [program(name), *asked_here]


def test_an_alert_fires_and_clears_in_a_real_alertmanager(
    settings: Settings, connection: postgres.Connection, tmp_path: Path
) -> None:
    folder = tmp_path / "prometheus"
    with exporter(settings) as port, watched({"exporter": port}, folder) as servers:
        manager = servers.manager
        for command in health_checks(servers):
            check(*command)

        def firing() -> list[str]:
            alerts = asked(f"{manager}/api/v2/alerts?active=true")
            return [each["annotations"]["summary"] for each in alerts]

        assert firing() == []
        with critical_alert(connection):
            wait_for(lambda: firing() == ["1 critical alerts are open: `ml-assets alerts list`"])
        wait_for(lambda: firing() == [])


def test_the_command_answers_until_it_is_ended(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    command = [program("ml-assets"), "metrics-exporter", "--port", str(port)]
    assert settings.postgres_url
    given = {
        "ML_ASSETS_HOME": str(settings.home),
        "POSTGRES_URL": settings.postgres_url.get_secret_value(),
    }
    with serving(command, tmp_path, port, given):
        assert scrape(port)["ml_assets_store_up"] == {"postgres": 1, "files": 1, "dagster": 1}
