"""The bench of search itself: vectors, exact search, tables, targets, and our side on few rows."""

import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.search import hybrid, indexes, quality, real, report, serving, vectors
from bench.search.__main__ import _arguments
from bench.search.contenders.ours import SETTINGS
from bench.search.contenders.protocol import Job
from bench.search.tables import fill, numbered
from ml_assets.documents.sources import open_source
from ml_assets.embeddings.space import current_space
from ml_assets.search.evaluation.measurement import MethodQuality, record_measurement
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets_tests.paths import PROJECT
from ml_assets_tests.search.corpus import generation_of
from ml_assets_tests.search.measurements import measurement, publish

DIMENSION = 384
COUNT = 300


@pytest.fixture
def saved(tmp_path: Path) -> vectors.Vectors:
    random = np.random.default_rng(7)  # not that of the jitter
    rows = random.standard_normal((COUNT, DIMENSION), dtype=np.float32)
    return vectors.save(tmp_path / "vectors", [rows[:100], rows[100:]], rows[:20] * 2 + 0.3)


def exact(saved: vectors.Vectors) -> list[list[int]]:
    rows = np.vstack(list(saved.blocks()))
    return [[*map(int, np.argsort(-(rows @ query))[: vectors.K])] for query in saved.queries]


def test_rows_are_read_as_they_were_saved(saved: vectors.Vectors) -> None:
    again = vectors.load(saved.folder)
    rows = np.vstack(list(again.blocks()))
    assert (again.count, again.dimension, rows.shape) == (COUNT, DIMENSION, (COUNT, DIMENSION))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(again.queries, axis=1), 1, atol=1e-6)


def test_recall_is_that_of_exact_search(saved: vectors.Vectors) -> None:
    kth = vectors.nearest_cosines(saved)
    found = exact(saved)
    assert vectors.recall(saved, found, kth) == 1
    assert vectors.recall(saved, [row[:5] for row in found], kth) == 0.5
    assert vectors.recall(saved, [row[:1] * 10 for row in found], kth) == pytest.approx(0.1)
    assert vectors.recall(saved, [[] for _ in found], kth) == 0


def test_equal_rows_are_equally_right(tmp_path: Path) -> None:
    row = np.ones((1, DIMENSION), dtype=np.float32)
    many = vectors.save(tmp_path, [np.repeat(row, 30, axis=0), -row], row)
    kth = vectors.nearest_cosines(many)
    assert vectors.recall(many, [list(range(10, 20))], kth) == 1
    assert vectors.recall(many, [[*range(9), 30]], kth) == 0.9


def test_jitter_keeps_to_the_real_rows_and_repeats_none(saved: vectors.Vectors) -> None:
    made = np.vstack(list(vectors.jittered(saved, 2 * COUNT + 7)))
    rows = np.vstack(list(saved.blocks()))
    assert made.shape == (2 * COUNT + 7, DIMENSION)
    cosines = (made[:COUNT] * rows).sum(axis=1)
    assert np.mean(cosines) == pytest.approx(1 / np.sqrt(1 + vectors.JITTER**2), abs=0.01)
    assert not np.allclose(made[:COUNT], made[COUNT : 2 * COUNT])


def packed(value: float) -> bytes:
    return b"\0\2\0\0" + np.array([value, 1], dtype=">f2").tobytes()


def test_queries_are_other_texts_than_the_rows() -> None:
    rows = [
        (f"d{n}#0", f"d{n}", f"Title {n}", "", f"Sentence {n}. More.", bytes([n % 5]), packed(n))
        for n in range(9)
    ]
    chosen = real.split(iter(rows), 3, queries=2)
    assert [chunk.document_id for chunk in chosen.chunks] == ["d0", "d1", "d2"]
    assert chosen.vectors.tolist() == [[0, 1], [1, 1], [2, 1]]
    assert chosen.queries.tolist() == [[3, 1], [4, 1]]
    assert list(chosen.asked) == ["Title 0", "Sentence 1."]


def test_without_other_texts_there_is_nothing_to_ask() -> None:
    row = ("a#0", "a", "", "", "Text.", b"0", packed(1))
    with pytest.raises(SystemExit, match="give fewer --vectors"):
        real.split(iter([row]), 3)


def test_a_home_that_is_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").touch()
    with pytest.raises(SystemExit, match="a server is running"):
        real.read(tmp_path, tmp_path / "work", 10)


LINE = report.IndexLine(
    "pgvector_hnsw_halfvec",
    43_000,
    {"index": "hnsw", "m": 16, "layout": 3},
    8.04,
    48 * 2**20,
    900 * 2**20,
    0.9861,
    report.Latency(1.1, 1.6, 2.345),
    {1: 800.4, 8: 1500.0},
    {10: report.Latency(2.0, 2.5, 3.0)},
)


def test_the_table_of_indexes() -> None:
    lines = report.index_table([LINE], report.PROMISES[:1]).splitlines()
    assert lines[2] == (
        "| pgvector_hnsw_halfvec | m 16 | 8.0 | 48 | 900 | 0.986 | 1.10 / 1.60 / 2.35 | 800 |"
        " 1,500 | 2.00 / 2.50 / 3.00 |  |"
    )
    assert lines[3].startswith("| guides: HNSW (16, 64) |  | 2 to 5 min |  | 2 to 4 GB |")
    assert len({line.count(" | ") for line in lines}) == 1


def test_percentiles_are_milliseconds() -> None:
    assert report.Latency.of([0.001] * 99 + [0.1]) == report.Latency(1.0, 1.0, 1.99)


def test_targets_of_the_default_index() -> None:
    recall, p50 = indexes.targets([LINE])
    assert recall.reached
    assert str(p50) == "- p50 of pgvector_hnsw_halfvec, ms: 1.1, must be ≤ 1.5: reached"
    assert report.as_json(recall)["reached"] is True
    missed = report.Target("x", 2.0, most=1.5)
    assert str(missed).endswith("**not reached**")


def test_targets_of_hybrid_search() -> None:
    lines = [
        hybrid.SearchLine("ours", 10, 5, report.Latency(10, 20, 50)),
        hybrid.SearchLine("theirs", 10, 5, report.Latency(35, 60, 90)),
    ]
    assert [target.reached for target in hybrid.targets(lines)] == [True, False, True]
    assert hybrid.table(lines).splitlines()[-1] == (
        "| theirs | 10 | 5 | 35.00 / 60.00 / 90.00 | 3.5 |"
    )
    assert len(hybrid.targets(lines[:1])) == 2


def measured(hybrid: float, vector: float, keyword: float) -> MethodQuality:
    """What a generation is measured with; the tuning half is better, and is not asked for."""
    of = {"hybrid": hybrid, "vector": vector, "keyword": keyword}
    return MethodQuality(
        methods={
            name: {"tuning": {"ndcg@10": 0.99}, "reporting": {"ndcg@10": value, "queries": 114}}
            for name, value in of.items()
        },
        intervals={
            name: {
                "tuning": {"ndcg@10": (0.98, 1.0)},
                "reporting": {"ndcg@10": (value - 0.05, value + 0.04)},
            }
            for name, value in of.items()
        },
    )


def test_quality_is_that_of_the_queries_that_nothing_was_tuned_on() -> None:
    line = quality.line_of("cranfield", measured(0.578, 0.503, 0.514))
    assert quality.table([line]).splitlines()[-1] == (
        "| cranfield | 114 | 0.578 (0.528 to 0.618) | 0.503 (0.453 to 0.543)"
        " | 0.514 (0.464 to 0.554) | +0.064 |"
    )
    assert json.loads(json.dumps(report.as_json(line)))["ndcg"]["hybrid"] == 0.578
    with pytest.raises(SystemExit, match="cranfield: no judged query is for reporting"):
        quality.line_of("cranfield", MethodQuality({"hybrid": {"tuning": {}}}))


@pytest.mark.parametrize(
    ("name", "hybrid", "single", "reached"),
    [
        ("scifact", 0.731, 0.70, [True, True]),
        ("scifact", 0.729, 0.70, [False, True]),
        ("Cranfield", 0.571, 0.56, [True, False]),
        ("cranfield", 0.569, 0.40, [False, True]),
        ("other", 0.10, 0.07, [True]),
        ("other", 0.99, 0.98, [False]),
    ],
)
def test_targets_of_quality(name: str, hybrid: float, single: float, reached: list[bool]) -> None:
    for other in ((single, 0.01), (0.01, single)):
        line = quality.line_of(name, measured(hybrid, *other))
        assert [target.reached for target in quality.targets([line])] == reached


def test_quality_is_read_from_what_is_published(
    connection: postgres.Connection, postgres_url: str, settings: Settings
) -> None:
    generation = generation_of(connection, settings)
    with pytest.raises(SystemExit, match="tiny: no search is published"):
        quality.read_line(postgres_url, "tiny")
    published = measured(0.5, 0.4, 0.3)
    publish(connection, generation, quality=published)
    latest = measurement(quality=measured(0.9, 0.9, 0.9))
    record_measurement(connection, generation.generation_id, latest)
    assert quality.read_line(postgres_url, "tiny") == quality.line_of("tiny", published)


def test_a_benchmark_is_the_source_of_a_deployment_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "what? ever"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("")
    given = quality.environment(tmp_path / "state", folder)
    assert given["ML_ASSETS_HOME"] == str(tmp_path / "state" / "home")
    source = open_source(given["ML_ASSETS_SOURCE"], load_settings())
    assert source.name == f"beir:{folder}"


def test_quality_asks_for_folders(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _arguments(["--rows", "quality"])
    assert "--beir" in capsys.readouterr().err
    asked = _arguments(["--rows", "quality", "--beir", "a", "b"])
    assert (asked.beir, asked.set) == ([Path("a"), Path("b")], [])
    given = ["--rows", "quality", "--beir", "a", "--set", "A=b=c", "D="]
    assert dict(_arguments(given).set) == {"A": "b=c", "D": ""}


def test_searches_are_asked_by_turns() -> None:
    turns: list[tuple[str, int]] = []

    def asking(name: str) -> hybrid.Asking:
        def ask(texts: Sequence[str]) -> list[float]:
            turns.append((name, len(texts)))
            return [0.001] * len(texts)

        return ask

    both = {name: asking(name) for name in "ab"}
    seconds = hybrid.by_turns(both, [str(number) for number in range(15)])
    assert turns == [("a", 10), ("b", 10), ("a", 10), ("b", 10), ("a", 5), ("b", 5)]
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 15, "b": 15}


def test_a_search_that_fails_ends_the_bench_with_what_it_said(tmp_path: Path) -> None:
    with (
        pytest.raises(SystemExit, match=r"No module named 'bench\.search\.contenders\.none'"),
        serving.serving(sys.executable, "none", "-", tmp_path, tmp_path),
    ):
        pass


def test_a_search_that_finds_nothing_is_an_error() -> None:
    assert len(serving._timed(lambda text: [text], ["a", "b"])) == 2
    with pytest.raises(ValueError, match="nothing was found for 'a'"):
        serving._timed(lambda text: [], ["a"])


@pytest.fixture
def filled(saved: vectors.Vectors, postgres_url: str, tmp_path: Path) -> Job:
    texts = [real.Chunk("x#0", "x", "Title", "Title", "Text.")]
    with postgres.connect(postgres_url, tmp_path) as connection:
        space = current_space(load_settings())
        assert fill(connection, space, numbered(saved, texts)) == COUNT
    return Job("", postgres_url, tmp_path, saved)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_our_indexes_find_the_rows_by_their_numbers(filled: Job, name: str) -> None:
    from bench.search.contenders.ours import open_contender

    contender = open_contender(Job(name, filled.database, filled.state, filled.vectors))
    assert contender.build() > 0
    with contender.client() as ask:
        found = [ask(query, vectors.K) for query in filled.vectors.queries]
    kth = vectors.nearest_cosines(filled.vectors)
    assert vectors.recall(filled.vectors, found, kth) > 0.8
    for percent in report.FILTERED:
        passing = {row for row in range(COUNT) if zlib.crc32(str(row).encode()) % 100 < percent}
        assert 0 < len(passing) < 0.2 * COUNT
        with contender.filtered(percent) as ask:
            near = ask(filled.vectors.queries[0], vectors.K)
        assert set(near) <= passing
        assert len(near) == min(vectors.K, len(passing))
    kind, index, *_ = [*name.split("_"), "hnsw"]
    assert contender.parameters["index"] == index, kind
    contender.drop()


@pytest.mark.parametrize("name", ["raw_faiss_flat", "raw_faiss_hnsw"])
def test_faiss_alone(saved: vectors.Vectors, tmp_path: Path, name: str) -> None:
    from bench.search.contenders.raw_faiss import open_contender

    contender = open_contender(Job(name, "", tmp_path, saved))
    assert contender.build() > COUNT * DIMENSION * 4
    with contender.client() as ask:
        found = [ask(query, vectors.K) for query in saved.queries]
    assert vectors.recall(saved, found, vectors.nearest_cosines(saved)) > 0.95


def test_an_index_is_built_and_asked_in_processes_of_its_own(
    saved: vectors.Vectors, tmp_path: Path, postgres_server: str
) -> None:
    contest = indexes.Contest(postgres_server, tmp_path, tmp_path / "work", saved, ())
    line, ours = indexes.measure(contest, ["raw_faiss_flat", "pgvector_hnsw_16_64"])
    assert (line.name, line.vectors, line.recall) == ("raw_faiss_flat", COUNT, 1.0)
    assert line.rates[8] > 0
    assert line.filtered == {}
    assert (ours.parameters["m"], ours.parameters["ef_construction"]) == (16, 64)
    assert [ours.filtered[percent].p50 > 0 for percent in report.FILTERED] == [True, True]
    assert line.latency.p50 <= line.latency.p99
    assert json.dumps(report.as_json(line))


def test_the_graph_that_guides_promise_is_measured_on_a_million_too() -> None:
    assert {"pgvector_hnsw_16_64", "pgvector_hnsw_halfvec"} <= set(indexes.OF_A_MILLION)
    assert set(indexes.ALL) - set(indexes.OF_A_MILLION) == {"chroma"}


def test_what_the_bench_of_search_needs_is_pinned() -> None:
    from bench.peers import OF_SEARCH

    pins = (PROJECT / "bench" / "requirements.txt").read_text()
    assert all(f"\n{name}==" in pins for name in OF_SEARCH)
