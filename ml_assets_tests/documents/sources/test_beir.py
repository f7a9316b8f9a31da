"""Benchmarks in the form of BEIR."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.documents.sources.beir import SPLIT_FROM, Beir
from ml_assets.errors import SourceError
from ml_assets_tests.paths import SHARED_DATA

HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "tiny"
    place.mkdir()
    (place / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "One", "text": "first", "metadata": {}}\n'
        '{"_id": "d2", "title": "", "text": ""}\n'
    )
    (place / "queries.jsonl").write_text(
        '{"_id": 1, "text": "what\u2028first?"}\n\n{"_id": "2", "text": "unjudged"}\n',
        encoding="utf-8",
    )
    (place / "qrels.tsv").write_text(f"{HEADER}1\td1\t2\n1\td3\t0\n\n3\td1\t1\n")
    return place


def test_a_corpus_and_its_questions(folder: Path) -> None:
    source = Beir(str(folder), 1000)
    assert list(source.collections()) == ["tiny"]
    assert list(source.read(["tiny"])) == [
        Document("d1", "tiny", "first", "One"),
        Rejected("tiny", "corpus.jsonl line 2", "no text", "d2"),
    ]
    assert list(source.read(["other"])) == []
    assert source.judged_queries() == (
        JudgedQuery("1", "what\u2028first?", {"d1": 2}, "reporting"),
    )
    assert list(Beir(str(folder), 1000, "mine").collections()) == ["mine"]


def test_training_queries_are_for_tuning(folder: Path) -> None:
    shutil.copy(folder / "queries.jsonl", folder / "queries_train.jsonl")
    shutil.copy(folder / "qrels.tsv", folder / "qrels_train.tsv")
    training = folder / "queries_train.jsonl"
    # The first question is one of the test, too: what is reported is never tuned on.
    training.write_text(training.read_text().replace('"unjudged"', '"what next?"'))
    with (folder / "qrels_train.tsv").open("a") as judgments:
        judgments.write("2\td1\t1\n")
    queries = [
        (one.query_id, one.text, one.half) for one in Beir(str(folder), 1000).judged_queries()
    ]
    assert queries == [
        ("1", "what\u2028first?", "reporting"),
        ("train/2", "what next?", "tuning"),
    ]


def halves(folder: Path, count: int) -> dict[str, str]:
    """The half of each of so many questions."""
    names = [str(number) for number in range(count)]
    rows = (json.dumps({"_id": name, "text": f"question {name}"}) for name in names)
    (folder / "queries.jsonl").write_text("\n".join(rows))
    (folder / "qrels.tsv").write_text(HEADER + "".join(f"{name}\td1\t1\n" for name in names))
    return {query.query_id: query.half for query in Beir(str(folder), 1000).judged_queries()}


def test_without_training_queries_half_of_many_are_for_tuning(folder: Path) -> None:
    assert set(halves(folder, SPLIT_FROM - 1).values()) == {"reporting"}
    split = Counter(halves(folder, 1000).values())
    assert split.total() == 1000
    assert 440 < split["tuning"] < 560
    # Whatever other questions there are, each stays in its half.
    assert halves(folder, 150).items() <= halves(folder, 300).items()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("queries.jsonl", b"[]", "queries.jsonl line 1: not an object like"),
        ("queries.jsonl", b'{"_id": 1}', "queries.jsonl line 1: not an object like"),
        ("queries.jsonl", b"\xff", "queries.jsonl: invalid UTF-8"),
        ("qrels.tsv", b"1\td1\t1\n", "the header is wrong. Write query-id corpus-id score"),
        ("qrels.tsv", b"", "the header is wrong"),
        ("qrels.tsv", HEADER.encode() + b"1\td1\n", "qrels.tsv row 2: not a judgment"),
        ("qrels.tsv", HEADER.encode() + b"1\td1\tyes\n", "qrels.tsv row 2: not a judgment"),
        ("qrels.tsv", HEADER.encode() + b"\n1\t" + b"d" * 200_000, "qrels.tsv row 3: not a judg"),
    ],
)
def test_bad_judgments(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        Beir(str(folder), 1000).judged_queries()
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["queries.jsonl", "qrels.tsv"])
def test_missing_judgments(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(SourceError, match=f"{name}: cannot be read"):
        Beir(str(folder), 1000).judged_queries()


def test_a_missing_corpus(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        Beir(str(tmp_path / "none"), 1000).collections()


@pytest.mark.parametrize(
    ("name", "documents", "rejected", "queries"),
    [
        ("scifact", 5183, 0, {"tuning": 807, "reporting": 300}),
        ("cranfield", 1398, 2, {"tuning": 111, "reporting": 114}),
    ],
)
def test_public_benchmarks(
    name: str, documents: int, rejected: int, queries: dict[str, int]
) -> None:
    if not (SHARED_DATA / name).exists():
        pytest.skip("no shared data here")
    source = Beir(str(SHARED_DATA / name), 10_000_000)
    kinds = Counter(type(row) for row in source.read(list(source.collections())))
    assert kinds == {Document: documents} | ({Rejected: rejected} if rejected else {})
    assert Counter(query.half for query in source.judged_queries()) == queries
