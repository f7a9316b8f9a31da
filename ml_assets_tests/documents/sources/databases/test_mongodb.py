"""The source `mongodb` by MongoDB's own client, over the wire.

`make test` has mongomock behind it; `make test-servers ONLY=mongodb` runs the same tests on
DocumentDB, a real engine, whose URL is then in `DOCUMENTDB`.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pymongo
import pytest
from bson import Binary, Decimal128, ObjectId, Regex, Timestamp

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.refresh import refresh_documents
from ml_assets.documents.sources import Source, open_source
from ml_assets.errors import SettingError, SourceError, UserError
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets_tests.paths import PROJECT
from ml_assets_tests.servers import PASSWORD, free_port
from ml_assets_tests.servers.documentdb import DocumentDb
from ml_assets_tests.servers.mongodb import Gateway, Mock, RefusedError, mongodb_over_tcp

ENGINE = os.environ.get("DOCUMENTDB", "")
MAPPED = "text=body&label=topic&created_at=written&metadata=maker.name,price"


@pytest.fixture(scope="module")
def started() -> Iterator[Gateway]:
    engine = DocumentDb(ENGINE) if ENGINE else Mock()
    with closing(engine), mongodb_over_tcp(engine) as gateway:
        yield gateway


@pytest.fixture
def gateway(started: Gateway) -> Iterator[Gateway]:
    """A server without documents, which answers as it should."""
    for name in ("articles", "authors"):
        drop(started, name)
    started.commands.clear()
    yield started
    started.before, started.rewrite = (lambda name: None), (lambda answer: answer)


def drop(gateway: Gateway, name: str) -> None:
    with closing(client(gateway)) as opened:
        opened["shop"].drop_collection(name)


def client(gateway: Gateway) -> Any:
    return pymongo.MongoClient(gateway.url, uuidRepresentation="standard")


def write(gateway: Gateway, *documents: dict[str, Any], collection: str = "articles") -> None:
    """Do as another program that uses the database does."""
    with closing(client(gateway)) as opened:
        opened["shop"][collection].insert_many(documents)


def change(gateway: Gateway, work: Callable[[Any], object]) -> None:
    with closing(client(gateway)) as opened:
        work(opened["shop"]["articles"])


def articles(gateway: Gateway) -> None:
    written, price = datetime(2026, 1, 5, 10, tzinfo=UTC), Decimal128("2.50")
    write(
        gateway,
        {
            "_id": 1,
            "body": "A kettle boils water",
            "topic": "kitchen",
            "price": price,
            "written": written,
            "maker": {"name": "Ada", "age": 36},
            "updated_at": written,
        },
        {"_id": 2, "body": "Ein Wasserkocher für 2 Liter", "topic": "kitchen", "price": 30.0},
        {"_id": 3, "body": "", "topic": "garden"},
        {"_id": 4, "body": "A spade", "topic": "garden", "price": 7, "maker": ["Eve"]},
    )


def opened(spec: str, gateway: Gateway) -> Source:
    return open_source(spec, load_settings(source_url=gateway.url))


def read(source: Source) -> tuple[dict[str, Document], list[Rejected]]:
    rows = list(source.read(list(source.collections())))
    documents = {row.document_id: row for row in rows if isinstance(row, Document)}
    return documents, [row for row in rows if isinstance(row, Rejected)]


def test_a_collection_is_read_as_a_file_of_rows_is(gateway: Gateway) -> None:
    articles(gateway)
    source = opened(f"mongodb:articles?{MAPPED}", gateway)
    assert [*source.collections()] == ["articles"]
    documents, rejected = read(source)
    assert documents["1"] == Document(
        "1",
        "articles",
        "A kettle boils water",
        label="kitchen",
        metadata={"maker.name": "Ada", "price": 2.5},
        created_at=datetime(2026, 1, 5, 10, tzinfo=UTC),
    )
    assert documents["2"].text == "Ein Wasserkocher für 2 Liter"
    assert documents["4"].metadata == {"price": 7}
    assert [(row.document_id, row.location, row.reason) for row in rejected] == [
        ("3", "row 3", "no text")
    ]


def test_a_filter_and_a_field_of_an_object(gateway: Gateway) -> None:
    articles(gateway)
    filtered = 'filter={"written":{"$gt":{"$date":"2026-01-01T00:00:00Z"}}}'
    documents, _ = read(opened(f"mongodb:articles?text=maker.name&{filtered}&name=makers", gateway))
    assert documents == {"1": Document("1", "makers", "Ada")}


def test_a_pipeline_puts_a_text_together_from_several_collections(
    gateway: Gateway, tmp_path: Path
) -> None:
    write(gateway, {"_id": "a", "by": 1, "parts": ["boil", "pour"]}, {"_id": "b", "by": 1})
    write(gateway, {"_id": 1, "name": "Ada"}, collection="authors")
    stages: list[dict[str, Any]] = [
        {"$lookup": {"from": "authors", "localField": "by", "foreignField": "_id", "as": "author"}},
        {"$unwind": "$author"},
        {"$unwind": "$parts"},
        {"$project": {"key": {"$concat": ["$_id", "-", "$parts"]}, "parts": 1, "author.name": 1}},
    ]
    (tmp_path / "parts.json").write_text(json.dumps(stages))
    (tmp_path / "source.toml").write_text(
        'source = "mongodb"\npath = "articles"\npipeline = "parts.json"\n'
        'id = "key"\ntext = "parts"\nlabel = "author.name"\n'
    )
    source = opened(str(tmp_path / "source.toml"), gateway)
    documents, rejected = read(source)
    assert documents == {
        "a-boil": Document("a-boil", "articles", "boil", label="Ada"),
        "a-pour": Document("a-pour", "articles", "pour", label="Ada"),
    }
    assert rejected == []
    before = source.collections()
    (tmp_path / "parts.json").write_text(json.dumps([*stages, {"$limit": 1}]))
    assert opened(str(tmp_path / "source.toml"), gateway).collections() != before


def test_the_example_of_the_documents(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (PROJECT / "docs" / "sources.md").read_text("utf-8")
    (block,) = re.findall(r"```sh\n(mkdir -p \.ml_assets/catalogue\n.*?)```", page, re.DOTALL)
    subprocess.run(["bash", "-euc", block], check=True)
    parts = [{"name": "use", "text": "Boil"}, {"name": "care", "text": "Descale"}]
    times = dict.fromkeys(("created", "updated_at"), datetime(2026, 1, 5, tzinfo=UTC))
    kettle = {"slug": "kettle", "title": "Kettle", "topic": "kitchen", "author": 7, **times}
    write(gateway, {**kettle, "published": True, "parts": parts}, {**kettle, "published": False})
    write(gateway, {"_id": 7, "name": "Ada"}, collection="authors")
    documents, rejected = read(opened(".ml_assets/catalogue/source.toml", gateway))
    assert {name: row.text for name, row in documents.items()} == {
        "kettle/use": "Boil",
        "kettle/care": "Descale",
    }
    assert documents["kettle/use"].metadata == {"author.name": "Ada"}
    assert not rejected


def test_unwound_rows_with_one_id_are_told(gateway: Gateway, tmp_path: Path) -> None:
    write(gateway, {"_id": "a", "text": ["boil", "pour"]})
    (tmp_path / "p.json").write_text('[{"$unwind": "$text"}]')
    documents, rejected = read(opened(f"mongodb:articles?pipeline={tmp_path}/p.json", gateway))
    assert [row.text for row in documents.values()] == ["boil"]
    assert [row.reason for row in rejected] == ["the id 'a' is that of an earlier row, row 1"]


@pytest.mark.parametrize(
    "work",
    [
        lambda stored: stored.update_one({"_id": 1}, {"$set": {"body": "A kettle boils tea"}}),
        lambda stored: stored.update_one({"_id": 1}, {"$set": {"maker.name": "Eve"}}),
        lambda stored: stored.update_one({"_id": 1}, {"$unset": {"topic": ""}}),
        lambda stored: stored.insert_one({"_id": 5, "body": "A rake"}),
        lambda stored: stored.delete_one({"_id": 2}),
    ],
)
def test_every_change_has_another_fingerprint(
    gateway: Gateway, work: Callable[[Any], object]
) -> None:
    articles(gateway)
    source = opened(f"mongodb:articles?{MAPPED}", gateway)
    stamp, before = source.stamp(), source.collections()
    assert (source.stamp(), source.collections()) == (stamp, before)
    change(gateway, work)
    assert source.stamp() != stamp
    assert source.collections() != before


def test_what_is_not_read_is_no_change_and_another_mapping_is_one(gateway: Gateway) -> None:
    articles(gateway)
    before = opened("mongodb:articles?text=body", gateway).collections()
    change(gateway, lambda stored: stored.update_one({"_id": 1}, {"$set": {"price": 99}}))
    assert opened("mongodb:articles?text=body", gateway).collections() == before
    for spec in ("text=body&title=topic", "text=body&filter={}", "text=body&fingerprint=topic"):
        mapped = opened(f"mongodb:articles?{spec}", gateway).collections()
        assert mapped.keys() == before.keys()
        assert mapped != before


def test_a_field_splits_it_and_one_change_is_one_of_a_collection(gateway: Gateway) -> None:
    articles(gateway)
    source = opened("mongodb:articles?text=body&collection_by=topic", gateway)
    before = source.collections()
    assert [*before] == ["garden", "kitchen"]
    change(gateway, lambda stored: stored.update_one({"_id": 4}, {"$set": {"body": "A hoe"}}))
    after = source.collections()
    assert after["kitchen"] == before["kitchen"]
    assert after["garden"] != before["garden"]
    assert {row.collection for row in source.read(["garden"])} == {"garden"}


def test_a_document_without_a_collection_is_told_with_every_one(gateway: Gateway) -> None:
    articles(gateway)
    source = opened("mongodb:articles?text=body&collection_by=topic", gateway)
    before = source.collections()
    write(gateway, {"_id": 9, "body": "Lost"})
    after = source.collections()
    assert [*after] == [*before]
    assert not after.items() & before.items()
    told = [row for row in source.read(["garden"]) if isinstance(row, Rejected)]
    assert [(row.collection, row.reason) for row in told] == [
        ("garden", "no text"),
        ("", "the collection is empty"),
    ]


def test_a_time_splits_it(gateway: Gateway) -> None:
    articles(gateway)
    spec = "text=body&created_at=written&collection_by=created_at:quarter"
    source = opened(f"mongodb:articles?{spec}", gateway)
    assert [*source.collections()] == ["2026-Q1"]
    rows = list(source.read(["2026-Q1"]))
    assert [type(row) for row in rows] == [Document, *[Rejected] * 3]


def test_with_a_fingerprint_only_it_and_the_ids_are_asked(gateway: Gateway) -> None:
    articles(gateway)
    asked = "collection_by=topic&fingerprint=updated_at"
    source = opened(f"mongodb:articles?text=body&{asked}", gateway)
    before = source.collections()
    change(gateway, lambda stored: stored.update_one({"_id": 1}, {"$set": {"body": "unseen"}}))
    assert source.collections() == before
    now = datetime(2026, 3, 1, tzinfo=UTC)
    change(gateway, lambda stored: stored.update_one({"_id": 1}, {"$set": {"updated_at": now}}))
    after = source.collections()
    assert after["kitchen"] != before["kitchen"]
    assert after["garden"] == before["garden"]
    change(gateway, lambda stored: stored.delete_one({"_id": 4}))
    assert source.collections()["garden"] != before["garden"]
    with pytest.raises(SourceError, match=r"field update_at\. The first one has"):
        opened("mongodb:articles?text=body&fingerprint=update_at", gateway).stamp()


def test_values_of_bson(gateway: Gateway) -> None:
    identity, key = ObjectId("65a1b2c3d4e5f60718293a4b"), UUID(int=7)
    values = {
        "uuid": key,
        "long": 1 << 40,
        "price": Decimal128("1E+6144"),
        "unknown": Decimal128("NaN"),
        "nan": float("nan"),
        "endless": float("-inf"),
        "bytes": Binary(b"caf\xc3\xa9"),
        "list": [Decimal128("1.5"), {"id": identity}],
        "clock": Timestamp(1_767_607_200, 1),
        "like": Regex("^a"),
        "none": None,
    }
    write(gateway, {"_id": identity, "text": "A kettle", **values})
    documents, rejected = read(opened(f"mongodb:articles?metadata={','.join(values)}", gateway))
    assert rejected == []
    assert documents[str(identity)].metadata == {
        "uuid": str(key),
        "long": 1 << 40,
        "price": f"1.{'0' * 33}E+6144",
        "bytes": "café",
        "list": f'["1.5", {{"id": "{identity}"}}]',
        "clock": "2026-01-05 10:00:00+00:00",
        "like": "Regex('^a', 0)",
    }


def test_ids_of_any_type_and_those_that_are_one_as_text(gateway: Gateway) -> None:
    identity = ObjectId("65a1b2c3d4e5f60718293a4b")
    ids = [identity, 1, "1", 2.5, UUID(int=7), datetime(2026, 1, 5, tzinfo=UTC), Binary(b"k")]
    ids += [{"a": 1}, str(identity), False]
    write(gateway, *({"_id": each, "text": f"number {n}"} for n, each in enumerate(ids)))
    documents, rejected = read(opened("mongodb:articles", gateway))
    assert sorted(documents) == sorted(
        [str(identity), "1", "2.5", str(UUID(int=7)), "2026-01-05 00:00:00+00:00", "k", "false"]
    )
    assert {row.reason.partition(", row")[0] for row in rejected} == {
        "the id '1' is that of an earlier row",
        "the id is a dict, not text",
        f"the id '{identity}' is that of an earlier row",
    }


def test_a_document_that_cannot_be_used_spoils_no_other(gateway: Gateway) -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(90):
        deep = {"x": deep}
    write(
        gateway,
        {"_id": "big", "text": "x" * ((16 << 20) - 100)},
        {"_id": "deep", "text": "A well", "maker": deep},
        {"_id": "binary", "text": Binary(b"\xff\x00")},
        {"_id": "nested", "text": {"de": "Ein Brunnen"}},
        {"_id": "endless", "text": "A tunnel", "created_at": datetime(1, 1, 1, tzinfo=UTC)},
        {"_id": "bare"},
        {"_id": "nul", "text": "A \0 kettle"},
        {"_id": "fine", "text": "A spade"},
    )
    documents, rejected = read(opened("mongodb:articles?metadata=maker", gateway))
    assert sorted(documents) == ["deep", "endless", "fine", "nul"]
    assert str(documents["deep"].metadata["maker"]).count("{") == 91
    assert documents["nul"].text == "A  kettle"
    reasons = sorted(row.reason for row in rejected)
    assert "bytes of text, more than ML_ASSETS_MAX_DOCUMENT_BYTES" in reasons[0]
    assert reasons[1].startswith("it cannot be decoded ('utf-8' codec can't decode byte 0xff")
    assert reasons[2:] == ["no text", "the text is a dict, not text"]


def test_a_date_that_python_has_none_for_spoils_its_row(gateway: Gateway) -> None:
    write(gateway, {"_id": 1, "text": "A kettle", "created_at": datetime(2026, 1, 5, tzinfo=UTC)})
    write(gateway, {"_id": 2, "text": "A spade"})
    in_2026 = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1000).to_bytes(8, "little")
    gateway.rewrite = lambda answer: answer.replace(in_2026, (1 << 60).to_bytes(8, "little"))
    documents, rejected = read(opened("mongodb:articles", gateway))
    assert [*documents] == ["2"]
    assert rejected[0].reason.endswith("not a date in ISO 8601")


def test_a_bad_byte_and_a_broken_document_spoil_their_rows(gateway: Gateway) -> None:
    write(gateway, {"_id": 1, "text": "A café"}, {"_id": 2, "text": "A spade"})
    gateway.rewrite = lambda answer: answer.replace("é".encode(), b"\xe9?")
    documents, rejected = read(opened("mongodb:articles", gateway))
    assert [*documents] == ["2"]
    assert rejected[0].reason.startswith("it cannot be decoded ('utf-8' codec")
    gateway.rewrite = lambda answer: answer.replace(b"\x02text\0", b"\x77text\0", 1)
    documents, rejected = read(opened("mongodb:articles", gateway))
    assert [*documents] == ["2"]
    assert "unknown BSON type" in rejected[0].reason


def test_rows_are_streamed(gateway: Gateway) -> None:
    """40 MB of documents, at most 16 MB of them at once."""
    for start in range(0, 160, 40):
        tenth = range(start, start + 40)
        write(gateway, *({"_id": n, "text": "x" * 250_000} for n in tenth))
    source = opened("mongodb:articles", gateway)
    next(source.read(["articles"]))  # what is loaded once
    gateway.commands.clear()
    count = sum(1 for _ in source.read(["articles"]))
    assert count == 160
    assert gateway.commands.count("getMore") >= 2


def more(gateway: Gateway) -> None:
    """More documents than come at once."""
    write(gateway, *({"_id": n, "text": f"number {n}"} for n in range(300)))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (RefusedError(43, "CursorNotFound", "cursor id 7 not found"), "cursor id 7 not found"),
        (RefusedError(50, "MaxTimeMSExpired", "took too long"), "took too long"),
        (ConnectionAbortedError(), "connection closed"),
    ],
)
def test_what_ends_in_the_middle_loses_nothing(
    gateway: Gateway,
    connection: postgres.Connection,
    fault: Exception,
    message: str,
) -> None:
    more(gateway)
    source = opened("mongodb:articles", gateway)
    assert refresh_documents(connection, source, ["articles"]).deltas["articles"].added == 300
    change(gateway, lambda stored: stored.delete_many({"_id": {"$lt": 100}}))
    pages = itertools.count()

    def fail_in_the_third_pass(name: str) -> None:
        if name == "getMore" and next(pages) == 2:
            raise fault

    gateway.before = fail_in_the_third_pass
    report = refresh_documents(connection, source, ["articles"])
    assert message in report.unread["articles"]
    do = "Check ML_ASSETS_SOURCE_URL, the filter and the pipeline, and run again"
    assert report.unread["articles"].endswith(do)
    assert "\n" not in report.unread["articles"]
    live = connection.execute("select count(*) from documents where deleted_at is null")
    assert live.fetchone() == (300,)
    gateway.before = lambda name: None
    assert refresh_documents(connection, source, ["articles"]).deltas["articles"].removed == 100


def test_a_server_that_is_down_is_told_soon_and_without_the_password() -> None:
    url = f"mongodb://me:hush@127.0.0.1:{free_port()}/shop?serverSelectionTimeoutMS=300"
    source = open_source("mongodb:articles", load_settings(source_url=url))
    with pytest.raises(SourceError) as caught:
        source.collections()
    assert "Connection refused. Check ML_ASSETS_SOURCE_URL" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_wrong_password_and_a_wrong_name_are_one_line(gateway: Gateway) -> None:
    articles(gateway)
    wrong = load_settings(source_url=gateway.url.replace(PASSWORD, "hush"))
    with pytest.raises(SourceError, match=r"Authentication failed\. Check") as caught:
        open_source("mongodb:articles", wrong).collections()
    assert "hush" not in str(caught.value)
    for spec, message in [
        ("mongodb:article?text=body", "no documents. Check the filter and the name; the database"),
        ('mongodb:articles?text=body&filter={"body":1}', "no documents. Check the filter"),
        ("mongodb:articles", "no document has the field text. The first one has _id, body, topic,"),
        ("mongodb:articles?text=body&label=maker.nam", "no document has the field maker.nam."),
        ("mongodb:articles?text=body&collection_by=shelf", "no document has the field shelf."),
    ]:
        with pytest.raises(SourceError) as caught:
            opened(spec, gateway).collections()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert PASSWORD not in str(caught.value)


def test_who_may_not_list_the_collections_is_told_as_much(gateway: Gateway) -> None:
    def refuse(name: str) -> None:
        if name == "listCollections":
            raise RefusedError(13, "Unauthorized", "not authorized on shop")

    gateway.before = refuse
    with pytest.raises(SourceError, match=r"no documents\. Check the filter and the name of the"):
        opened("mongodb:articles", gateway).collections()


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ('filter={"a"', "", "filter: it cannot be read (Expecting ':' delimiter"),
        ('filter={"a":{"$oid":"7"}}', "", "filter: it cannot be read ('7' is not a valid ObjectId"),
        ('filter={"a":123456789012345678901}', "", "MongoDB can only handle up to 8-byte ints"),
        ("filter=[1]", "", "filter: it is not an object"),
        ("pipeline=p.json", "[", "p.json: it cannot be read (Expecting value"),
        ("pipeline=p.json", '{"$limit": 1}', "p.json: it is not a list of stages"),
        ("pipeline=p.json", '[{"$out": "b"}]', "p.json: it has a stage $out, which writes"),
        ("pipeline=p.json", '[{"$merge": "b"}]', "p.json: it has a stage $merge, which writes"),
        (
            "pipeline=p.json",
            '[{"$match": {}}, {"$out": "b"}]',
            "p.json: it has a stage $out, which writes",
        ),
        ("pipeline=p.json", "[" * 100_000, "p.json: it cannot be read (maximum recursion"),
        ("pipeline=none.json", "", "none.json: it cannot be read ([Errno 2] No such file"),
    ],
)
def test_a_filter_or_a_pipeline_that_cannot_be_one(
    tmp_path: Path, option: str, content: str, message: str
) -> None:
    (tmp_path / "p.json").write_text(content)
    spec = f"mongodb:articles?{option.replace('=', f'={tmp_path}/') if content else option}"
    with pytest.raises(SourceError) as caught:
        open_source(spec, load_settings(source_url="mongodb://127.0.0.1/shop"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("mongodb://me:hush@host", "mongodb://me:hu/sh@host/shop", "mongodb://me:hu?sh@host/shop"),
        *("postgresql://me:hush@host/shop", "mongodb://me:hush@host/shop?hush=1", "hush"),
        *("mongodb://me:hush@host:99999/shop", "mongodb://me:hush@host/shop?tlsCAFile=/hush"),
    ],
)
def test_a_url_that_cannot_be_one_is_not_shown(url: str) -> None:
    with pytest.raises(SettingError, match="not the URL of a database of MongoDB") as caught:
        open_source("mongodb:articles", load_settings(source_url=url))
    assert "sh" not in str(caught.value).replace("such", "")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("mongodb://me:hush@one:27018,two:27019/shop?replicaSet=r", "one:27018,two:27019/shop"),
        ("mongodb+srv://me:hush@cluster.example.org/shop", "cluster.example.org/shop"),
        ("mongodb://host/shop", "host/shop"),
    ],
)
def test_the_name_of_a_source_tells_where_and_not_who(url: str, place: str) -> None:
    source = open_source("mongodb:articles", load_settings(source_url=url))
    assert source.name == f"mongodb:{place}/articles"


def test_the_url_and_the_driver_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"mongodb needs it\. Set it to .* mongodb://user@host"):
        open_source("mongodb:articles", load_settings())
    with pytest.raises(UserError, match="Write the URL to ML_ASSETS_SOURCE_URL") as caught:
        open_source("mongodb:mongodb://me:hush@host/x", load_settings())
    assert "hush" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "pymongo", None)
    with pytest.raises(SettingError, match=r"no driver .* pip install 'ml-assets\[mongodb\]'"):
        open_source("mongodb:articles", load_settings(source_url="mongodb://host/shop"))
