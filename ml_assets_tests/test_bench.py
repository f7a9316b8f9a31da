"""The bench itself: figures, rows, texts, memory, and our own side of it on a few documents."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import corpus, growth, ingest, ours, peers, stores
from bench.contenders.protocol import Job, read_documents
from bench.measure import Finished, machine, run
from bench.memory import peak_memory, tree_memory
from bench.rows import Figure, Limit, Row, as_json, table
from ml_assets.embeddings.space import current_space
from ml_assets.settings import load_settings
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.graph import fake_encoder
from ml_assets_tests.paths import PROJECT

TEXTS = [corpus.Text(f"id-{n}", f"Title {n}", f"Text number {n}.") for n in range(250)]
SLOW = Figure("CocoIndex", (9.0, 80.0, 10.0), count=200)
QUICK = Figure("ml_assets", (4.0, 5.0, 6.0), count=250)


def test_a_figure_is_the_median_of_its_repetitions() -> None:
    assert SLOW.median == 10
    assert str(SLOW) == "CocoIndex: 10.0 s (200 chunks, 20/s)"
    assert str(Figure("copy", (90_324.0,), "/s")) == "copy: 90,324 /s"


@pytest.mark.parametrize(
    ("limit", "shown", "value"),
    [
        (Limit(factor=0.6), "ratio ≤ 0.6", 6.0),
        (Limit(factor=1, plus=1.5), "≤ that + 1.5 s", 11.5),
        (Limit(plus=2.5), "≤ 2.5 s", 2.5),
    ],
)
def test_limits(limit: Limit, shown: str, value: float) -> None:
    assert str(limit) == shown
    assert limit.value(SLOW) == pytest.approx(value)


def test_a_row_sets_medians_side_by_side() -> None:
    assert Row("cold", QUICK, SLOW).ratio == 0.5
    assert Row("cold", QUICK, SLOW).reached is None
    assert Row("cold", QUICK, SLOW, Limit(factor=0.6)).reached is True
    assert Row("cold", QUICK, SLOW, Limit(factor=0.4)).reached is False
    assert Row("search", QUICK, None, Limit(plus=2.5)).reached is False


def test_the_table_names_both_parts_of_a_ratio() -> None:
    rows = [Row("cold", QUICK, SLOW, Limit(factor=0.4)), Row("cold", QUICK), Row("search", QUICK)]
    lines = table(rows).splitlines()
    assert lines[2] == (
        "| cold | ml_assets: 5.00 s (250 chunks, 50/s) | CocoIndex: 10.0 s (200 chunks, 20/s)"
        " | 0.50 | ratio ≤ 0.4 | **no** |"
    )
    assert lines[3] == "|  |  |  |  |  |  |"
    assert lines[4] == "| search | ml_assets: 5.00 s (250 chunks, 50/s) |  |  |  |  |"


def test_json_keeps_every_repetition() -> None:
    written = json.loads(json.dumps(as_json(Row("cold", QUICK, SLOW, Limit(factor=0.4)))))
    assert written["measured"]["samples"] == [4, 5, 6]
    assert written["against"]["median"] == 10
    assert written["limit"] == {
        "factor": 0.4,
        "plus": 0.0,
        "at_least": 0.0,
        "unit": "s",
        "value": 4.0,
    }
    assert written["reached"] is False


def test_texts_are_spread_evenly() -> None:
    assert corpus.spread(TEXTS, 5) == TEXTS[::50]
    assert corpus.spread(TEXTS, 1000) == TEXTS


def test_turns_change_one_percent_each_and_keep_what_was_edited(tmp_path: Path) -> None:
    before, first, second = (
        [corpus.Text(**json.loads(line)) for line in file.read_text().splitlines()]
        for file in corpus.write_turns(TEXTS, tmp_path, 2)
    )
    assert before == TEXTS
    assert [n for n in range(250) if first[n] != before[n]] == [1, 101, 201]
    assert [n for n in range(250) if second[n] != first[n]] == [2, 102, 202]
    assert corpus.count_edited(TEXTS, 2) == 3


def test_of_two_documents_with_one_id_the_first_is_read(tmp_path: Path) -> None:
    twice = [corpus.Text("a", "", "first"), corpus.Text("b", "", "b"), corpus.Text("a", "", "2nd")]
    file = corpus.write(twice, tmp_path / "twice.jsonl")
    assert [text.text for text in corpus.read_source(f"files:{file}")] == ["first", "b"]


def test_contenders_read_title_and_text(tmp_path: Path) -> None:
    file = corpus.write(TEXTS[:1], tmp_path / "texts.jsonl")
    assert list(read_documents(file)) == [("id-0", "Title 0\nText number 0.")]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
def test_memory_counts_children(tmp_path: Path) -> None:
    allocate = "import sys; held = bytearray(b'x' * 64_000_000); print('ready', flush=True);"
    command = [sys.executable, "-c", allocate + "sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"ready\n"
        assert tree_memory([child.pid]) > 64_000_000
        assert tree_memory([os.getpid()]) > tree_memory([child.pid])
        assert tree_memory([os.getpid(), child.pid]) < 1.2 * tree_memory([os.getpid()])
        (tmp_path / "postmaster.pid").write_text(f"{child.pid}\n/data\n")
        with peak_memory(0, tmp_path) as peak:
            while not peak.size:
                child.poll()
        assert peak.size > 64_000_000
        child.communicate()


def test_a_measured_process_sees_no_setting_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_ASSETS_SOURCE", "the caller's")
    monkeypatch.setenv("POSTGRES_URL", "the caller's")
    show = "import os; print(*(os.environ.get(n) for n in ('ML_ASSETS_SOURCE', 'POSTGRES_URL')))"
    done = run([sys.executable, "-c", show], {"POSTGRES_URL": "ours"}, tmp_path / "log")
    assert done.seconds > 0
    assert (tmp_path / "log").read_text() == "None ours\n"


def test_a_process_that_fails_ends_the_bench_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)out of luck.*Exit code 3 of"):
        run([sys.executable, "-c", "print('out of luck'); exit(3)"], {}, tmp_path / "log")


def test_the_machine_is_described() -> None:
    described = machine()
    assert described["processor"]
    assert described["cores"]
    assert json.dumps(described)


def test_a_peer_of_which_something_is_missing_is_skipped() -> None:
    complete = dict.fromkeys(peers.PEERS[0].distributions, "1.0")
    assert peers.installed(complete) == [peers.PEERS[0]]
    assert peers.installed(dict(list(complete.items())[1:])) == []
    assert peers.installed({}) == []


def test_peers_are_pinned_and_encode_with_our_versions() -> None:
    def pins(file: str) -> dict[str, str]:
        text = (PROJECT / file).read_text()
        return dict(re.findall(r"^([\w-]+)(?:\[.*\])?==(\S+)$", text, flags=re.MULTILINE))

    theirs, constraints = pins("bench/requirements.txt"), pins("constraints.txt")
    for peer in peers.PEERS:
        assert set(peer.distributions) <= theirs.keys()
        assert (PROJECT / "bench" / "contenders" / f"{peer.module}.py").exists()
    for name in ("torch", "sentence-transformers", "transformers", "tokenizers"):
        assert theirs[name] == constraints[name]


def sampled(cases: dict[tuple[str, str], Sequence[float]]) -> ingest.Samples:
    samples = ingest.Samples(chunks={ingest.OURS: 20, ingest.PLAIN: 20, "CocoIndex": 18})
    for key, seconds in cases.items():
        samples.seconds[key] = list(seconds)
    return samples


def test_rows_of_ingestion_and_their_limits(tmp_path: Path) -> None:
    coco = [peer for peer in peers.PEERS if peer.name == "CocoIndex"]
    wanted = frozenset(ingest.SECTIONS)
    contest = ingest.Contest(tmp_path, "", TEXTS, coco, 1, wanted)
    cases = {(name, case): [1.0] for name in (ingest.OURS, "CocoIndex") for case in ingest.CASES}
    samples = sampled(
        {
            **cases,
            (ingest.PLAIN, ingest.COLD): [2.0],
            (ingest.TRIVIAL, ingest.NEW): [1.0],
            (ingest.LOOK_AT_ALL, ingest.WARM): [4.0],
            (ingest.TO_VECTORS, ingest.CHANGED_NEW): [0.5],
        }
    )
    rows = [row for section in ingest.SECTIONS for row in ingest.rows(section, contest, samples)]
    limited = {row.what: (row.limit, row.reached) for row in rows if row.limit}
    assert limited == {
        "cold, documents to HNSW, warm process, 250 documents": (Limit(factor=0.55), True),
        "unchanged, new process, 250 documents": (Limit(factor=1, plus=1.5), True),
        "unchanged, warm process, 250 documents": (Limit(plus=0.5), False),
        "3 of 250 documents changed, new process": (Limit(factor=0.6), True),
    }


def test_rows_of_growth_and_their_limits() -> None:
    mib = 2**20
    grown = [
        growth.Grown(
            documents,
            documents,
            cold=[Finished(seconds, peak * mib)],
            unchanged=[Finished(seconds / 10, 50 * mib)],
            changed=[Finished(seconds / 10 + 2, 60 * mib)],
            to_vectors=[Finished(seconds / 10 + 1, 55 * mib)],
            encode=[Figure("encode", (1.0,))],
        )
        for documents, seconds, peak in [(2000, 10, 90), (5000, 20, 100), (77000, 100, 160)]
    ]
    rows = growth.rows(grown)
    assert len(rows) == 3 * 4 + 2
    assert [row.what for row in rows if row.against is None] == [rows[n].what for n in (0, 1, 2, 7)]
    limited = {row.what: (row.ratio, row.reached) for row in rows if row.limit}
    assert limited == {
        "unchanged, new process, all embedded": (10.0, False),
        "peak memory of all processes": (1.6, False),
        "1 % of 77,000 documents changed, beyond the unchanged run, all of it": (2.0, False),
        "1 % of 77,000 documents changed, beyond the unchanged run, documents to HNSW": (1.0, True),
    }


def test_ours_from_documents_to_hnsw(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.contenders.ml_assets_jobs import Pipeline

    job = Job(postgres_url, tmp_path, ours.model())
    for name, value in ours.environment(job.state, job.database).items():
        monkeypatch.setenv(name, value)  # the contender sets them, this takes them back
    settings = load_settings()
    encoder = HashEncoder(current_space(settings))
    before, after = corpus.write_turns(TEXTS[:20], tmp_path / "texts", 1)
    pipeline = Pipeline(job, {"encoder": fake_encoder(settings, encoder)})
    assert pipeline.ingest(before) == 20
    assert len(encoder.texts) == 20
    assert pipeline.ingest(after) == 20
    assert "Title 1\nText number 1.\n\nEdited, turn 1." in encoder.texts[20:]
    assert len(ours.read_chunks(postgres_url)) == 20


def test_stores_are_written_both_ways(tmp_path: Path, postgres_server: str) -> None:
    rows = stores.measure(tmp_path, postgres_server, TEXTS[:30], 1)
    assert [row.what for row in rows] == [
        "PostgreSQL, halfvec(384), 30 rows",
        "Chroma, 30 rows",
        "keyword index, 30 rows",
    ]
    assert all(row.measured.unit == "/s" and row.measured.median > 0 for row in rows)
