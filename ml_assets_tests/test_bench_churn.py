"""The bench's churn on a few chunks: what it changes, what it measures, its limits."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from bench import ours
from bench.rows import Figure, Limit, Row, as_json, table
from bench.search import churn
from bench.search.held import churn as churn_chunks
from bench.search.held import fill
from ml_assets.search.evaluation.exact import RecallReport
from ml_assets.stores import postgres
from ml_assets_tests.search.corpus import Doc, put

LIVE, HELD_OUT = 60, 30
KINDS = ("pgvector", "chroma", "keyword")


@pytest.fixture
def source(connection: postgres.Connection, postgres_url: str) -> str:
    for number in range((LIVE + HELD_OUT) // 2):
        put(connection, f"d{number}", Doc((f"text {number}", f"tail {number}")))
    return postgres_url


@pytest.fixture
def target(postgres_server: str, tmp_path: Path) -> Iterator[postgres.Connection]:
    with ours.database(postgres_server) as url, postgres.connect(url, tmp_path) as connection:
        yield connection


def texts(connection: postgres.Connection) -> dict[str, str]:
    """The texts of the chunks that have the vector of their text."""
    rows = connection.execute(
        "select chunk_id, text from chunks join document_embeddings using (chunk_id, text_hash)"
    )
    return dict(rows.fetchall())


def test_a_churn_removes_changes_and_adds_a_third_each(
    source: str, target: postgres.Connection, connection: postgres.Connection
) -> None:
    fill(source, target, LIVE, HELD_OUT)
    before = texts(target)
    assert before.items() < texts(connection).items()
    assert len(before) == LIVE
    assert churn_chunks(target, 12, 1).chunks == 12
    after = texts(target)
    assert len(before.keys() - after.keys()) == len(after.keys() - before.keys()) == 4
    changed = {one for one in before.keys() & after.keys() if before[one] != after[one]}
    assert len(changed) == 4
    fresh = {after[one] for one in changed | (after.keys() - before.keys())}
    assert fresh <= set(texts(connection).values()) - set(before.values())
    assert len(texts(connection)) == LIVE + HELD_OUT


def test_a_source_that_is_too_small_is_refused(source: str, target: postgres.Connection) -> None:
    with pytest.raises(SystemExit, match="91 chunks are needed, and 90 are there"):
        fill(source, target, LIVE, HELD_OUT + 1)


def test_a_home_in_use_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").touch()
    with (
        pytest.raises(SystemExit, match="a server is running"),
        ours.copied_server(tmp_path, tmp_path / "copy"),
    ):
        pass


@pytest.mark.parametrize("faiss", [None, "flat"])
def test_churn_is_measured_on_every_index(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faiss: str | None
) -> None:
    monkeypatch.setattr(churn, "SMALL", 10)
    monkeypatch.setattr(churn, "REPORTED", 1)
    monkeypatch.setattr("ml_assets.search.indexes.wear.MIN_DEAD", 1)
    monkeypatch.setattr("ml_assets.search.indexes.wear.MAX_DEAD_SHARE", 0.0)
    rows = [*churn.measure(tmp_path, source, chunks=LIVE, repetitions=1, rounds=1, faiss=faiss)]
    kinds = [*KINDS, *(["faiss"] if faiss else [])]
    built = {"pgvector": 1, "chroma": 1, "faiss": 0}
    parts = ["vectors written, with PostgreSQL's own index", *(f"{kind} sync" for kind in kinds)]
    assert [(row.what.rpartition(", ")[2], row.measured.name) for row in rows] == [
        *(("1 % churn of 60 chunks", name) for name in ("all indexes", *parts)),
        *(
            (kind, name)
            for kind in kinds
            if kind != "keyword"
            for name in (
                "after 0 rounds, built anew 0 times",
                f"after 1 rounds, built anew {built[kind]} times",
                "least of all rounds",
            )
        ),
    ]
    whole, *seconds = [row.measured.median for row in rows[: 1 + len(parts)]]
    assert whole == pytest.approx(sum(seconds))
    assert min(seconds) > 0
    assert {row.measured.median for row in rows[1 + len(parts) :]} == {1.0}


def test_what_is_measured_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "results" / "churn.json"
    rows = [Row(name, Figure("ours", (1.0,)), None, Limit(plus=2)) for name in ("one", "two")]
    kept: list[list[str]] = []

    def measure(work: Path, source: str, **asked: object) -> Iterator[Row]:
        assert (source, asked["chunks"], asked["faiss"]) == ("url", 7, "ivfpq")
        yield rows[0]
        kept.append([row["what"] for row in json.loads(written.read_text())["rows"]])
        yield rows[1]

    monkeypatch.setattr(ours, "copied_server", lambda home, copy: nullcontext("url"))
    monkeypatch.setattr(churn, "measure", measure)
    churn.main(["home", "--chunks", "7", "--faiss", "ivfpq", "--output", str(written)])
    report = json.loads(written.read_text())
    assert kept == [["one"]]
    assert report["rows"] == [json.loads(json.dumps(as_json(row))) for row in rows]
    assert (report["chunks"], report["faiss"]) == (7, "ivfpq")
    assert report["machine"]["cores"]
    assert capsys.readouterr().out.startswith(table(rows))


def test_limits_of_churn() -> None:
    seconds = [churn.Seconds(429, 0.5, dict.fromkeys(KINDS, each)) for each in (0.1, 0.6, 0.2)]
    whole, *parts = churn.seconds_rows(43_000, seconds)
    assert (whole.measured.median, whole.limit) == (pytest.approx(1.1), Limit(plus=2))
    assert whole.reached is True
    assert [row.limit for row in parts] == [None] * 4
    rounds = [
        churn.Round(number, RecallReport(200, {"chroma": recall}), built)
        for number, recall, built in [(0, 1.0, ()), (1, 0.97, ("chroma",)), (2, 0.99, ())]
    ]
    least = churn.recall_rows("maintained", rounds)[-1]
    assert (least.measured.median, least.reached, str(least.limit)) == (0.97, False, "≥ 0.98")
    assert {row.limit for row in churn.recall_rows("not maintained", rounds)} == {None}


def test_a_limit_from_below() -> None:
    assert Row("recall", Figure("ours", (0.98,), ""), None, Limit(at_least=0.98)).reached is True
    assert str(Figure("ours", (0.984,), "")) == "ours: 0.984"
