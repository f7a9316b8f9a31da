"""The dashboard of Grafana: each of its queries asks the real store, filled, and is answered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from prometheus_client import start_http_server

from ml_assets.defs.monitoring.exported import records
from ml_assets.monitoring.hourly import roll_up
from ml_assets.releases.audit import Entry
from ml_assets.releases.pointer import Parts, publish
from ml_assets.service.metrics import Metrics
from ml_assets.settings import load_settings
from ml_assets.stores import clickhouse, postgres
from ml_assets_tests.monitoring.alerting.examples import NOW, critical_alert
from ml_assets_tests.monitoring.scraping import asked, exporter, instance, wait_for, watched
from ml_assets_tests.paths import PROJECT
from ml_assets_tests.servers.starting import free_port

__all__ = ["instance"]

GRAFANA = PROJECT / "docker" / "grafana"
PROVISIONED = GRAFANA / "provisioning"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "ml_assets.json").read_text())
KINDS = ("prometheus", "postgres", "grafana-clickhouse-datasource")
SELDOM = {"Checks that failed", "Connections and replicas"}
"""Panels that are empty on a good day."""


def queries(kind: str) -> dict[tuple[str, int], str]:
    """Every query of a kind of store, by the title of its panel and its number there."""
    found = {}
    for panel in DASHBOARD["panels"]:
        for number, target in enumerate(panel["targets"]):
            if target["datasource"]["type"] == kind:
                found[panel["title"], number] = target.get("expr") or target["rawSql"]
    for each in DASHBOARD["annotations"]["list"]:
        if each["datasource"]["type"] == kind:
            found[each["name"], 0] = each["rawQuery"]
    return found


def filled_in(text: str, condition: str) -> str:
    """A query with the macros of Grafana replaced, as its plug-ins do."""
    text = re.sub(r"\$__timeFilter\(((?:[^()]|\([^()]*\))*)\)", condition, text)
    text = text.replace("$__rate_interval", "1m")
    assert "$__" not in text
    return text


def test_every_query_is_of_a_store_that_is_provisioned() -> None:
    sources = yaml.safe_load((PROVISIONED / "datasources" / "ml_assets.yaml").read_text())
    known = {each["uid"]: each["type"] for each in sources["datasources"]}
    assert sorted(known.values()) == sorted(KINDS)
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 16
    for panel in panels:
        assert {t["datasource"]["uid"] for t in panel["targets"]} == {panel["datasource"]["uid"]}
        assert known[panel["datasource"]["uid"]] == panel["datasource"]["type"]
    text = (PROVISIONED / "dashboards" / "ml_assets.yaml").read_text()
    (provider,) = yaml.safe_load(text)["providers"]
    compose = yaml.safe_load((PROJECT / "docker" / "compose.yaml").read_text())["services"]
    mounts = dict(each.split(":")[:2] for each in compose["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    hosts = {str((each.get("url"), each.get("jsonData"))) for each in sources["datasources"]}
    for name in ("prometheus", "postgres", "clickhouse"):
        assert any(name in host for host in hosts)
        assert name in compose


def test_no_password_is_in_the_files() -> None:
    text = (PROVISIONED / "datasources" / "ml_assets.yaml").read_text()
    assert re.findall(r"password: (.+)", text) == ["$ML_ASSETS_DB_PASSWORD", "$CLICKHOUSE_PASSWORD"]


def test_queries_of_postgresql_are_answered(connection: postgres.Connection) -> None:
    entry = Entry("ann", "publish", "search_generation:1", "better")
    publish(connection, lambda _: Parts(generation_id="1"), entry)
    connection.execute("alter table model_versions drop constraint model_artifacts_run_id_fkey")
    connection.execute(
        "insert into model_versions (model_name, version, run_id, uri, training_set_hash,"
        " space_id, feature_views, metrics) values ('m', 3, 'r', '', '', '', '{}',"
        """ '{"accuracy": 0.9}')"""
    )
    asked_of = queries("postgres")
    assert len(asked_of) == 3
    with critical_alert(connection):
        for (title, _), text in asked_of.items():
            query = filled_in(text, r"\1 between '2000-01-01' and '2100-01-01'")
            cursor = connection.execute(query.encode())
            assert next(column.name for column in cursor.description or ()) == "time", title
            assert cursor.fetchall(), title


def test_queries_of_clickhouse_are_answered(tmp_path: Path) -> None:
    day, at = NOW.date(), NOW
    place = ["day", "writer", "sequence", "at", "request_id", "position"]
    answer = ["model", "version", "label", "probability", "latency_ms"]
    with clickhouse.connect(None, tmp_path) as client:
        row = [day, "w", 1, at, "r", 0]
        client.insert("prediction_log", [[*row, "m", 1, "a", 0.9, 4.0]], [*place, *answer])
        client.insert("prediction_feedback", [[*row, "a", "me"]], [*place, "label", "caller"])
        roll_up(client, day, day)
        client.insert("anomalies", [[day, "m", "p95_ms", "sudden", at, at, 9.0, 1.0, 2.0]])
        asked_of = queries("grafana-clickhouse-datasource")
        assert len(asked_of) == 4
        for (title, _), text in asked_of.items():
            query = filled_in(text, r"\1 >= toDateTime(0) and \1 <= toDateTime(4000000000)")
            found = client.query(query)
            assert found.column_names[0] == "time", title
            assert len(found.result_rows) == 1, title


def test_queries_of_prometheus_are_answered(
    connection: postgres.Connection, postgres_url: str, tmp_path: Path, instance: Any
) -> None:
    settings = load_settings(home=tmp_path / "home", postgres_url=postgres_url)
    (settings.home / "keyword").mkdir(parents=True)
    metrics, port = Metrics(), free_port()
    metrics.answered("GET", "/v1/search", 200, 0.01)
    service, thread = start_http_server(port, "127.0.0.1", metrics._registry)
    try:
        with (
            exporter(settings, {"dagster": lambda: records(instance)}) as exported,
            watched({"exporter": exported, "service": port}, tmp_path / "prometheus") as servers,
        ):

            def answer(text: str) -> list[Any]:
                query = quote(filled_in(text, ""))
                found = asked(f"{servers.prometheus}/api/v1/query?query={query}")
                assert found["status"] == "success"
                return list(found["data"]["result"])

            # A rate is of two scrapes.
            wait_for(lambda: bool(answer("rate(ml_assets_requests_total[$__rate_interval])")))
            wait_for(lambda: bool(answer("rate(ml_assets_blocks_total[$__rate_interval])")))
            for (title, number), text in queries("prometheus").items():
                found = answer(text)
                of_servers = "clickhouse" in text
                assert found or title in SELDOM or of_servers, (title, number)
    finally:
        service.shutdown()
        service.server_close()
        thread.join()
