"""Files of judged queries: written, read, refused, and read beside those of a source."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.documents.sources import open_source
from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.documents.sources.judged import half_of, read_judged, write_judged
from ml_assets.errors import SourceError
from ml_assets.settings import load_settings

NAMES = st.text(min_size=1).filter(str.strip)
QUERIES = st.builds(
    JudgedQuery,
    NAMES,
    NAMES,
    st.dictionaries(st.text(), st.integers(0, 3)),
    st.sampled_from(["tuning", "reporting"]),
)


@given(queries=st.lists(QUERIES, unique_by=lambda query: query.query_id))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, queries: list[JudgedQuery]
) -> None:
    file = tmp_path_factory.getbasetemp() / "judged.jsonl"
    write_judged(queries, file)
    assert list(read_judged(file)) == queries
    assert not list(file.parent.glob(".judged.jsonl.*"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "line 2: not a judged query"),
        ("[]", "line 2: not a judged query"),
        ('{"query_id": "a", "query": "b", "relevant": {}}', "line 2: not a judged query"),
        ('{"query_id": 1, "query": "b", "relevant": {}, "half": "tuning"}', "is no text"),
        ('{"query_id": "a", "query": " ", "relevant": {}, "half": "tuning"}', "is no text"),
        ('{"query_id": "a", "query": "b", "relevant": {}, "half": "both"}', "'both' is no half"),
        ('{"query_id": "a", "query": "b", "relevant": [], "half": "tuning"}', "object of grades"),
        (
            '{"query_id": "a", "query": "b", "relevant": {"d": -1}, "half": "tuning"}',
            "object of grades",
        ),
        (
            '{"query_id": "a", "query": "b", "relevant": {"d": true}, "half": "tuning"}',
            "object of grades",
        ),
        ('{"query_id": "1", "query": "b", "relevant": {}, "half": "tuning"}', "stands twice"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "judged.jsonl"
    good = '{"query_id": "1", "query": "a", "relevant": {"d": 1}, "half": "tuning"}'
    file.write_text(f"{good}\n{line}\n\n")
    with pytest.raises(SourceError, match=said):
        read_judged(file)


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        read_judged(tmp_path / "absent")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(SourceError, match="UTF-8"):
        read_judged(tmp_path / "latin")
    with pytest.raises(SourceError, match="cannot be written"):
        write_judged([], tmp_path / "no folder" / "file")


def test_judged_queries_of_a_file_stand_beside_those_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("id,text\n1,bread\n")
    judged = tmp_path / "judged.jsonl"
    settings = load_settings(home=tmp_path / "home", judged_queries=judged)
    own = open_source("python_docs", load_settings(home=tmp_path / "home")).judged_queries()
    assert own
    new = JudgedQuery("mine", "baking", {"1": 1}, "tuning")
    write_judged([new, JudgedQuery("again", own[0].text, {"1": 1}, "tuning")], judged)
    assert open_source("python_docs", settings).judged_queries() == (*own, new)
    both = open_source(f"files:{tmp_path}/*.csv", settings).judged_queries()
    assert [query.query_id for query in both or ()] == ["mine", "again"]


def test_half_of_the_queries_are_for_tuning() -> None:
    halves = [half_of(str(number)) for number in range(1000)]
    assert 450 < halves.count("tuning") < 550
    assert half_of("0") == half_of("0")
