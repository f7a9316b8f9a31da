"""The commands of monitoring, at the prompt."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner, Result

from ml_assets import cli
from ml_assets.cli import monitoring
from ml_assets.cli.app import out
from ml_assets.errors import StoreError
from ml_assets.stores import clickhouse, duckdb, postgres

NOW = datetime.now(UTC)

PREDICTIONS = """
insert into model_performance_hourly (hour, model, version, predictions, requests, probability,
    latency_ms)
select toStartOfHour({now:DateTime}) - toIntervalHour(1 + hour), 'document_classifier', 1,
    10 + hour, 10, 0.9, quantilesTDigestState(0.5, 0.95, 0.99)(toFloat64(4 + hour))
from (select number as hour from numbers(5)) group by hour
"""
DAYS = """
insert into model_performance_daily (day, model, version, predictions, requests, probability,
    latency_ms)
select toDate({now:DateTime}) - number, 'document_classifier', 1, 100 - number, 10, 0.9,
    quantilesTDigestState(0.5, 0.95, 0.99)(4.0)
from numbers(8) group by number
"""


@pytest.fixture
def home(tmp_path: Path, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the commands, on the database of the test."""
    info = connection.info
    url = f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}"
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("POSTGRES_URL", url)
    monkeypatch.setattr(out, "width", 160)
    return tmp_path


@pytest.fixture
def trained(home: Path, connection: postgres.Connection) -> Path:
    """Three trainings of two families, one of which is version 1."""
    for run_id, family, f1 in (
        ("aaaa1111", "logistic_regression", 0.7),
        ("aaaa2222", "tfidf_baseline", 0.6),
        ("bbbb3333", "logistic_regression", 0.8),
    ):
        connection.execute(
            "insert into experiments (run_id, name, description, owner, status, started_at,"
            " ended_at, training_set_hash, family, fingerprint, metrics) values (%s, '', '', '',"
            " 'completed', now(), now(), %s, %s, 'f', %s)",
            [run_id, run_id, family, Jsonb({"test_macro_f1": f1, f"only_{run_id}": 1.5})],
        )
        with duckdb.connect(home / "offline.duckdb") as duck:
            duck.execute(
                "insert into experiment_performance values (?, ?, ?, 'f', 'test', '', 'macro_f1',"
                " ?, now())",
                [run_id, run_id, family, f1],
            )
    connection.execute(
        "insert into model_versions (model_name, version, run_id, uri, training_set_hash, space_id,"
        " feature_views, metrics) values ('document_classifier', 1, 'aaaa1111', '', '', '', '{}',"
        " '{}')"
    )
    return home


def call(*words: str) -> Result:
    return CliRunner().invoke(cli.app, words)


def told(*words: str) -> str:
    """The one line of an error."""
    done = call(*words)
    assert done.exit_code == 1
    (line,) = done.output.strip().splitlines()
    return line


def test_two_models_stand_side_by_side(trained: Path) -> None:
    done = call("compare", "1", "bbbb", "--json")
    rows = {row.pop("metric"): row for row in json.loads(done.output)}
    assert rows["test_macro_f1"] == {
        "document_classifier/1": 0.7,
        "logistic_regression bbbb3333": 0.8,
        "difference": pytest.approx(0.1),
    }
    assert rows["only_aaaa1111"]["difference"] is None
    shown = call("compare", "document_classifier/1", "tfidf_baseline").output
    assert "-0.100" in shown


def test_a_family_is_its_last_training_and_a_model_can_be_compared_with_itself(
    trained: Path, connection: postgres.Connection
) -> None:
    connection.execute(
        "update experiments set ended_at = now() + interval '1 s' where run_id = 'bbbb3333'"
    )
    done = call("compare", "logistic_regression", "logistic_regression", "--json")
    rows = {row["metric"]: row for row in json.loads(done.output)}
    row = rows["test_macro_f1"]
    assert row["logistic_regression bbbb3333"] == row["logistic_regression bbbb3333 again"] == 0.8


def test_a_name_that_is_none_is_told_with_what_is_close(trained: Path) -> None:
    assert told("compare", "logistic_regresion", "1").endswith(
        "models: 'logistic_regresion' is no version, run or family."
        " Did you mean logistic_regression or text_and_vector_regression?"
    )
    assert "'7' is no version, run or family" in told("compare", "7", "1")
    assert "There are majority_class, tfidf_baseline" in told("compare", "zzz", "1")
    assert "2 runs begin with 'aaaa'. Write more of it: aaaa2222, aaaa1111" in told(
        "compare", "1", "aaaa"
    )
    assert "there is no champion" in told("compare", "champion", "1")
    # A percent sign, an underscore and a few characters name no run.
    for name in ("%", "____", "aaa", "9" * 40, "x" * 10_000):
        assert "is no version, run or family" in told("compare", name, "1")


def test_the_trainings_of_a_family_are_a_trend(trained: Path) -> None:
    (row,) = json.loads(call("trends", "logistic_regression", "--json").output)
    assert (row["metric"], row["values"], row["last"]) == ("macro_f1", 2, 0.8)
    assert row["moving_average"] == pytest.approx(0.75)
    assert json.loads(call("trends", "1", "--json").output) == [row]
    assert "▁█" in call("trends", "logistic_regression").output
    assert "nothing is known of document_classifier over time" in told(
        "trends", "document_classifier"
    )


def test_the_answers_of_the_registered_model_are_a_trend(trained: Path) -> None:
    with clickhouse.connect(None, trained) as client:
        client.command(DAYS, {"now": NOW})
    rows = {
        row["metric"]: row
        for row in json.loads(call("trends", "document_classifier", "--json").output)
    }
    assert {*rows} == {"predictions", "probability", "p50_ms", "p95_ms", "p99_ms"}
    assert (rows["predictions"]["values"], rows["predictions"]["last"]) == (8, 100)
    assert rows["predictions"]["moving_average"] == 98


def test_one_look_shows_every_series(home: Path) -> None:
    assert "Nothing is watched yet" in call("monitor", "--once").output
    with clickhouse.connect(None, home) as client:
        client.command(PREDICTIONS, {"now": NOW})
        client.insert(
            "search_quality_daily",
            [
                [NOW.date() - timedelta(days=1), "old", True, "hybrid", "ndcg@10", 0.5, NOW],
                [NOW.date(), "new", True, "hybrid", "ndcg@10", 0.6, NOW],
                [NOW.date(), "other", False, "hybrid", "ndcg@10", 0.9, NOW],
            ],
            ["day", "generation_id", "is_served", "method", "metric", "value", "measured_at"],
        )
        client.insert(
            "anomalies",
            [[NOW.date(), "document_classifier", "p95_ms", "sudden", NOW, NOW, -12.0, 1.0, 2.0]],
            [
                "day",
                "model",
                "metric",
                "kind",
                "began_at",
                "ended_at",
                "score",
                "value",
                "expected",
            ],
        )
    rows = {
        (row["series"], row["metric"]): row
        for row in json.loads(call("monitor", "--once", "--json").output)
    }
    predictions = rows["document_classifier", "predictions"]
    assert predictions["values"] == [14, 13, 12, 11, 10]
    assert (predictions["last"], predictions["deviation"]) == (10, None)
    assert rows["document_classifier", "p95_ms"]["deviation"] == -12
    assert rows["search new", "ndcg@10"]["values"] == [0.5, 0.6]
    # No terminal: one look is all.
    shown = call("monitor").output
    assert "█▆▅▃▁" in shown or "█▆▄▃▁" in shown
    assert "12 deviations below" in shown


@pytest.fixture
def looks(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Two looks of which the first cannot be had, and then Ctrl-C."""
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    def look(*given: object) -> list[object]:
        if not waited:
            raise StoreError("held by a run", where="chdb", do="Wait for it")
        return []

    monkeypatch.setattr(monitoring.time, "sleep", wait)
    monkeypatch.setattr(monitoring, "_look", look)
    return waited


def test_a_watch_goes_on_past_a_look_that_fails_and_ends_in_order(looks: list[float]) -> None:
    done = call("monitor", "--json", "--seconds", "7")
    assert done.exit_code == 0
    failed, line = done.output.splitlines()
    assert failed == "chdb: held by a run. Wait for it"
    assert json.loads(line)["series"] == []
    assert looks == [7, 7]


def test_a_terminal_is_drawn_on(looks: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring.out, "_force_terminal", True)
    done = call("monitor")
    assert done.exit_code == 0
    assert "Nothing is watched yet" in done.output
    assert "Interrupted" not in done.output
    # The cursor that a live table hides is there again.
    assert 0 <= done.output.rfind("\x1b[?25l") < done.output.rfind("\x1b[?25h")
