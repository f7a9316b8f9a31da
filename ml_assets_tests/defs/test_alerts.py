"""Alerts by ticks of their sensor, as an asset of a day, and at the prompt."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from ml_assets import cli
from ml_assets.cli.app import out
from ml_assets.defs import sensors
from ml_assets.defs.monitoring.alerting import read_records
from ml_assets.defs.monitoring.assets import alerts
from ml_assets.releases.holds import HOLDS
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import clickhouse
from ml_assets_tests.graph import evaluate, shown

RULES = """
[rules.model_is_wrong]
metric = "accuracy"
condition = "< 0.7"
over = "5m"
severity = "critical"
who = ["file"]

[rules.check_failed]
metric = "checks_failed"
condition = "> 0"
severity = "warning"
who = ["file"]
"""
PREDICTIONS = """
insert into prediction_log (day, writer, sequence, at, request_id, position, model, version,
    label, probability, latency_ms)
select toDate({at:DateTime}), {writer:String}, number + 1, {at:DateTime},
    concat({writer:String}, toString(number)), 0, 'classifier', 1, 'a', 0.9, 4
from numbers(40)
"""
FEEDBACK = """
insert into prediction_feedback (day, writer, sequence, at, request_id, position, label,
    correct, caller)
select toDate({at:DateTime}), {writer:String}, number + 1, {at:DateTime},
    concat({writer:String}, toString(number)), 0, '', number < {right:UInt32}, 'me'
from numbers(40)
"""
NOW = datetime.now(UTC)


@pytest.fixture
def deployed(tmp_path: Path, postgres_url: str, connection: object) -> Settings:
    """A deployment on a database of the test's own, with two rules."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "rules.toml").write_text(RULES)
    return load_settings(
        home=home, actor="tester", postgres_url=postgres_url, alert_rules=home / "rules.toml"
    )


def replay(settings: Settings, writer: str, right: int, minutes_ago: float = 0) -> None:
    """Forty predictions of a moment, of which so many were right."""
    at = NOW - timedelta(minutes=minutes_ago)
    bound = {"at": at.replace(microsecond=0), "writer": writer, "right": right}
    with clickhouse.connect(None, settings.home) as client:
        client.command(PREDICTIONS, bound)
        client.command(FEEDBACK, bound)


def told(settings: Settings) -> list[str]:
    file = settings.home / "alerts.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["type"] for line in lines]


def tick(settings: Settings, instance: dg.DagsterInstance) -> str:
    context = dg.build_sensor_context(instance=instance)
    return str(evaluate(sensors.alerts_sensor, context, settings=settings).skip_message)


def test_a_model_that_goes_wrong_is_told_at_the_next_tick_and_blocks(
    deployed: Settings, instance: dg.DagsterInstance
) -> None:
    replay(deployed, "good", 38, minutes_ago=6)
    assert tick(deployed, instance) == "2 rules, 0 alerts opened, 0 resolved"
    replay(deployed, "bad", 10)
    ticks = [tick(deployed, instance), tick(deployed, instance)]
    assert ticks[0] == "2 rules, 1 alerts opened, 0 resolved; opened model_is_wrong/classifier"
    assert ticks[1] == "2 rules, 0 alerts opened, 0 resolved"
    assert told(deployed) == ["alert.opened"]


def test_the_asset_shows_what_was_told_on_a_day(
    deployed: Settings, instance: dg.DagsterInstance
) -> None:
    replay(deployed, "bad", 10)
    days = [f"{NOW - timedelta(days=back):%Y-%m-%d}" for back in (1, 0)]
    tags = {
        "dagster/asset_partition_range_start": days[0],
        "dagster/asset_partition_range_end": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    result = dg.materialize(
        [alerts], resources={"settings": deployed}, instance=instance, tags=tags
    )
    events = result.asset_materializations_for_node("alerts")
    by_day = {each.partition: each.metadata for each in events}
    assert by_day[days[0]]["dagster/partition_row_count"].value == 0
    last = by_day[max(by_day, key=str)]
    assert last["dagster/partition_row_count"].value == 1
    assert "| opened | critical | model_is_wrong | classifier | 0.25 |" in shown(last["events"])
    assert "| 1 | 1 |" in shown(last["events"])
    assert "model_is_wrong/classifier" in shown(last["open"])
    assert told(deployed) == ["alert.opened"]


def test_while_a_run_has_the_embedded_store_the_next_look_is_waited_for(
    deployed: Settings, instance: dg.DagsterInstance
) -> None:
    create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    assert "A run is at work" in tick(deployed, instance)
    served = deployed.model_copy(update={"clickhouse_url": SecretStr("http://127.0.0.1:1")})
    assert "rule model_is_wrong was not read: CLICKHOUSE_URL: " in tick(served, instance)


def test_rules_that_cannot_be_used_are_told(
    deployed: Settings, instance: dg.DagsterInstance
) -> None:
    (deployed.home / "rules.toml").write_text("[rules.x]\n")
    assert "rule 'x', metric: it is missing" in tick(deployed, instance)


@pytest.mark.parametrize("name", ["no_segment_is_left", HOLDS])
def test_a_check_that_failed_is_an_alert_but_not_that_of_alerts(
    deployed: Settings, instance: dg.DagsterInstance, name: str
) -> None:
    asset = "search_evaluation" if name == HOLDS else "prediction_log"

    def evaluated(passed: bool, severity: dg.AssetCheckSeverity) -> None:
        event = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(asset),
            check_name=name,
            passed=passed,
            metadata={},
            severity=severity,
        )
        instance.report_runless_asset_event(event)

    def failed() -> dict[str, bool]:
        return dict(read_records(instance, NOW).failed_checks)

    assert failed() == {}
    evaluated(False, dg.AssetCheckSeverity.WARN)
    assert not any(failed().values())
    evaluated(False, dg.AssetCheckSeverity.ERROR)
    assert failed() == ({} if name == HOLDS else {f"prediction_log:{name}": True})
    assert ("opened check_failed" in tick(deployed, instance)) == (name != HOLDS)
    evaluated(True, dg.AssetCheckSeverity.ERROR)
    assert not any(failed().values())


@pytest.fixture
def prompt(deployed: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    url = deployed.postgres_url
    assert url
    monkeypatch.setenv("ML_ASSETS_HOME", str(deployed.home))
    monkeypatch.setenv("POSTGRES_URL", url.get_secret_value())
    monkeypatch.setenv("ML_ASSETS_ALERT_RULES", str(deployed.alert_rules))
    monkeypatch.setenv("ML_ASSETS_ACTOR", "ann")
    monkeypatch.setattr(out, "width", 200)

    def call(*words: str) -> Result:
        return CliRunner().invoke(cli.app, ["alerts", *words])

    return call


def test_at_the_prompt_alerts_are_evaluated_listed_silenced_and_resolved(
    deployed: Settings, prompt: Any
) -> None:
    assert "No alert is open." in prompt("list").output
    rules = json.loads(prompt("rules", "--json").stdout)
    assert [each["name"] for each in rules] == ["model_is_wrong", "check_failed"]
    assert "accuracy < 0.7" in prompt("rules").output
    replay(deployed, "bad", 10)
    assert "opened model_is_wrong/classifier" in prompt("evaluate").output
    listed = json.loads(prompt("list", "--json").stdout)
    assert [each["rule"] for each in listed["open"]] == ["model_is_wrong"]
    assert listed["waiting"] == []
    assert "critical" in prompt("list").output

    unknown = prompt("silence", "x", "--reason", "r")
    assert (unknown.exit_code, "no alert 'x' is open" in unknown.output) == (1, True)
    wrong = prompt("silence", "model_is_wrong", "--for", "soon", "--reason", "r")
    assert "--for: 'soon' is not a duration" in wrong.output
    quiet = prompt("silence", "model_is_wrong", "--for", "3h", "--reason", "known")
    assert "model_is_wrong/classifier is silenced until" in quiet.output
    assert "silenced" in prompt("list").output
    closed = prompt("resolve", "model_is_wrong/classifier", "--reason", "rolled back")
    assert "model_is_wrong/classifier is resolved." in closed.output
    assert "No alert is open." in prompt("list").output
    assert "0 alerts opened" in prompt("evaluate").output
    assert told(deployed) == ["alert.opened", "alert.resolved"]


def test_recipients_are_tested_at_the_prompt(
    deployed: Settings, prompt: Any, tmp_path: Path
) -> None:
    done = prompt("test")
    assert (done.exit_code, done.output) == (0, "file: sent\n")
    assert told(deployed) == ["alert.test"]
    failed = prompt("test", f"file:{tmp_path}/none/a")
    assert failed.exit_code == 1
    assert "No such file" in failed.output
    assert "1 of 1 were not told" in failed.output
    assert "'pager' is no recipient" in prompt("test", "pager").output
    assert deployed.alert_rules
    deployed.alert_rules.write_text("")
    assert "no rule names a recipient" in prompt("test").output
