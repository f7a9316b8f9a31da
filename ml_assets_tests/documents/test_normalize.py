"""The normal form of a text, the rules of names, and the content hash."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from dagster._core.definitions.partitions.utils import (
    raise_error_on_invalid_partition_key_substring,
)
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.documents.model import Document, Heading
from ml_assets.documents.normalize import (
    check_collection,
    check_name,
    content_hash,
    normalize,
    trim,
)

ANY_TEXT = st.text(alphabet=st.characters(codec=None))
DOCUMENT = Document(
    "id",
    "c",
    "text",
    "title",
    "label",
    "https://x",
    "g",
    {"a": 1},
    datetime(2024, 5, 1, tzinfo=UTC),
)


@given(ANY_TEXT)
def test_normal_form_is_stable_and_storable(text: str) -> None:
    normal = normalize(text)
    assert normalize(normal) == normal
    assert "\0" not in normal
    assert "\r" not in normal
    assert unicodedata.is_normalized("NFC", normal)
    assert normal.encode("utf-8").decode("utf-8") == normal


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("a\r\0\nb", "a\nb"),
        ("e\u0301", "\u00e9"),
        ("e\0\u0301", "\u00e9"),
        ("x\ud800y", "xy"),
        ("", ""),
    ],
)
def test_normal_forms(text: str, normal: str) -> None:
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("name", "trimmed"),
    [
        ("animals", "animals"),
        (" animals\t", "animals"),
        ("\u00a0animals\u3000", "animals"),
        ("\ufeffanimals\u200b \u00ad", "animals"),
        ("wild animals", "wild animals"),
        ("a\u200db", "a\u200db"),
        (" \u200b", ""),
        ("", ""),
    ],
)
def test_what_nobody_sees_at_the_ends_is_trimmed(name: str, trimmed: str) -> None:
    assert trim(name) == trimmed


@given(ANY_TEXT)
def test_trimming_is_stable_and_takes_all_that_strip_does(name: str) -> None:
    assert trim(trim(name)) == trim(name) == trim(name.strip())


@pytest.mark.parametrize(
    "change",
    [
        {"text": "other"},
        {"title": "other"},
        {"label": None},
        {"label": "None"},
        {"url": None},
        {"group": ""},
        {"metadata": {"a": "1"}},
        {"metadata": {"a": True}},
        {"metadata": {}},
        {"created_at": None},
        {"created_at": datetime(2024, 5, 1, 0, 0, 0, 1, tzinfo=UTC)},
        {"text": "texttitle", "title": ""},
        {"headings": (Heading(0, 1, "h"),)},
    ],
)
def test_every_field_of_the_content_changes_the_hash(change: dict[str, object]) -> None:
    assert content_hash(replace(DOCUMENT, **change)) != content_hash(DOCUMENT)  # type: ignore[arg-type]


def test_hash_is_of_what_is_said_not_how() -> None:
    zone = timezone(timedelta(hours=2))
    same = replace(DOCUMENT, created_at=datetime(2024, 5, 1, 2, tzinfo=zone))
    ordered = replace(DOCUMENT, metadata={"b": 2, "a": 1})
    reordered = replace(DOCUMENT, metadata={"a": 1, "b": 2})
    assert content_hash(same) == content_hash(DOCUMENT)
    assert content_hash(ordered) == content_hash(reordered)
    assert content_hash(replace(DOCUMENT, document_id="x")) == content_hash(DOCUMENT)
    assert len(content_hash(DOCUMENT)) == 32


def test_the_hash_of_a_document_without_headings_stays_as_it_is_kept() -> None:
    kept = "741f13f93184b9c16db8bf1ad93cbd129b8dfad05dd7ba46ab24c7e00a596c2c"
    assert content_hash(DOCUMENT).hex() == kept


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_no_two_contents_share_an_encoding(one: tuple[str, str], two: tuple[str, str]) -> None:
    hashes = [content_hash(Document("i", "c", text, title)) for text, title in (one, two)]
    assert (hashes[0] == hashes[1]) == (one == two)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "the id is empty"),
        (" \t", "the id is empty"),
        ("x" * 201, "the id has 201 characters, more than 200"),
        ("a\nb", "the id 'a\\nb' has a control character or a line end"),
        ("a\0b", "the id 'a\\x00b' has a control character or a line end"),
        ("a\u2028b", "the id 'a\\u2028b' has a control character or a line end"),
        ("a\ud800", "the id 'a\\ud800' has a control character or a line end"),
    ],
)
def test_bad_names(name: str, problem: str) -> None:
    assert check_name(name, "id") == problem


@pytest.mark.parametrize("name", ["x" * 200, "Ünïcode 名前", "a/b/../c.md", " padded ", "a...b"])
def test_good_names(name: str) -> None:
    assert check_name(name, "id") is None


@pytest.mark.parametrize("name", ["../../x", "a/b", "a\\b", "..", "a...b", "."])
def test_a_collection_is_no_path(name: str) -> None:
    assert check_collection(name) == f"the collection {name!r} has a path separator or '..'"


def test_a_collection_has_no_spaces_around_it() -> None:
    assert check_collection(" a") == "the collection ' a' begins or ends with a space"
    assert check_collection("x" * 300) == "the collection has 300 characters, more than 200"
    assert check_collection("Networking and IPC, 2024-Q1") is None


@given(ANY_TEXT)
def test_dagster_takes_every_good_collection(name: str) -> None:
    if check_collection(name) is None:
        raise_error_on_invalid_partition_key_substring([name])
        assert 1 <= len(name) <= 200
