"""Rows of real databases: PostgreSQL, MariaDB, SQLite and DuckDB."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.refresh import refresh_documents
from ml_assets.documents.sources import Source, open_source
from ml_assets.documents.sources.base import snapshot
from ml_assets.documents.sources.databases.connections import Database
from ml_assets.documents.sources.databases.sql import Sql
from ml_assets.errors import SettingError, SourceError, UserError
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets_tests.servers import PASSWORD, free_port, mariadb_over_tcp

KINDS = ("postgresql", "mariadb", "sqlite", "duckdb")
SERVERS = KINDS[:2]


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mariadb_over_tcp(tmp_path_factory.mktemp("mariadb")) as url:
        yield url


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of one kind."""
    match request.param:
        case "postgresql":
            return str(request.getfixturevalue("postgres_url"))
        case "mariadb":
            url = str(request.getfixturevalue("mariadb"))
            write(url, "drop database shop", "create database shop", "use shop")
            return url
        case "sqlite":
            sqlite3.connect(tmp_path / "shop.db").execute("vacuum").connection.close()
            return f"sqlite:///{tmp_path}/shop.db"
    import duckdb

    duckdb.connect(tmp_path / "shop.duckdb").close()
    return f"duckdb:///{tmp_path}/shop.duckdb"


def write(url: str, *statements: str) -> None:
    """Do as another program that uses the database does."""
    drivers = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
    kind, _, rest = url.partition("://")
    engine = sa.create_engine(f"{drivers.get(kind, kind)}://{rest}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def articles(url: str) -> None:
    write(
        url,
        "create table articles (number integer primary key, body text, topic varchar(40),"
        " about text, price decimal(8,2), written timestamp null)",
        "insert into articles values"
        " (1, 'A kettle: boils water', 'kitchen', '{\"maker\": {\"name\": \"Ada\"}}', 2.50,"
        " '2026-01-05 10:00:00'),"
        " (2, 'Ein Wasserkocher für 2 Liter', 'kitchen', null, 30.00, '2026-02-06 00:00:00'),"
        " (3, '', 'garden', null, null, null),"
        " (4, 'A spade', 'garden', '[1]', 7, null)",
    )


def opened(spec: str, url: str) -> Source:
    return open_source(spec, load_settings(source_url=url))


def read(source: Source) -> tuple[dict[str, Document], list[Rejected]]:
    rows = list(source.read(list(source.collections())))
    documents = {row.document_id: row for row in rows if isinstance(row, Document)}
    return documents, [row for row in rows if isinstance(row, Rejected)]


MAPPED = "id=number&text=body&label=topic&created_at=written&metadata=about.maker.name,price"


def test_a_table_is_read_as_a_file_of_rows_is(url: str) -> None:
    articles(url)
    source = opened(f"sql:articles?{MAPPED}", url)
    assert [*source.collections()] == ["articles"]
    documents, rejected = read(source)
    assert documents["1"] == Document(
        "1",
        "articles",
        "A kettle: boils water",
        label="kitchen",
        metadata={"about.maker.name": "Ada", "price": 2.5},
        created_at=datetime(2026, 1, 5, 10, tzinfo=UTC),
    )
    assert documents["2"].text == "Ein Wasserkocher für 2 Liter"
    assert documents["2"].metadata == {"price": 30}
    assert [(row.document_id, row.reason) for row in rejected] == [("3", "no text")]


def test_a_query_may_join_count_and_look_like_placeholders(url: str) -> None:
    articles(url)
    query = (
        "select number as id, body as text, ':number %25s' as title from articles"
        " where body like '%25a%25' and ':x' <> '%25(y)s' order by number -- as :they came"
    )
    documents, _ = read(opened(f"sql?query={query}", url))
    assert {row.title for row in documents.values()} == {":number %s"}
    assert [*documents] == ["1", "2", "4"]
    assert documents["1"].collection == "query"


@pytest.mark.parametrize(
    "change",
    [
        "update articles set body = 'A kettle: boils tea' where number = 1",
        "update articles set topic = 'attic' where number = 1",
        "update articles set topic = null, about = 'kitchen' where number = 1",
        "insert into articles values (5, 'A rake', 'garden', null, null, null)",
        "delete from articles where number = 2",
    ],
)
def test_every_change_has_another_fingerprint(url: str, change: str) -> None:
    articles(url)
    source = opened("sql:articles?id=number&text=body&metadata=topic,about", url)
    stamp, before = source.stamp(), source.collections()
    assert (source.stamp(), source.collections()) == (stamp, before)
    write(url, change)
    assert source.stamp() != stamp
    assert source.collections() != before


def test_what_is_not_read_and_who_asks_is_no_change(url: str) -> None:
    articles(url)
    before = opened("sql:articles?id=number&text=body", url).collections()
    write(url, "update articles set price = 99 where number = 1")
    assert opened("sql:articles?id=number&text=body", url).collections() == before
    mapped = opened("sql:articles?id=number&text=body&title=topic", url).collections()
    assert mapped.keys() == before.keys()
    assert mapped != before


def test_a_column_splits_it_and_one_change_is_one_of_a_collection(url: str) -> None:
    articles(url)
    source = opened("sql:articles?id=number&text=body&collection_by=topic", url)
    before = source.collections()
    assert [*before] == ["garden", "kitchen"]
    write(url, "update articles set body = 'A hoe' where number = 4")
    after = source.collections()
    assert after["kitchen"] == before["kitchen"]
    assert after["garden"] != before["garden"]
    assert {row.collection for row in source.read(["garden"])} == {"garden"}


@pytest.mark.parametrize("url", SERVERS, indirect=True)
def test_a_snapshot_is_one_state_of_the_rows(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    articles(url)
    source = opened("sql:articles?id=number&text=body", url)
    before, (old, _) = source.stamp(), read(source)
    hashings = []
    row_hash = Database.row_hash
    monkeypatch.setattr(Database, "row_hash", lambda *words: hashings.append(1) or row_hash(*words))
    with snapshot(source) as held:
        present = held.collections()
        write(url, "update articles set body = 'A hoe' where number = 4")
        write(url, "delete from articles where number = 1")
        rows = [row for row in held.read(present) if isinstance(row, Document)]
        assert {row.document_id: row for row in rows} == old
        assert held.stamp() == before
    assert len(hashings) == 1
    assert source.stamp() != before
    assert read(source)[0].keys() == {"2", "4"}


@pytest.mark.parametrize("url", SERVERS, indirect=True)
def test_a_server_hashes_the_rows_of_each_collection(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    articles(url)
    monkeypatch.setattr(Sql, "_outcomes", None)  # no row is read
    source = opened("sql:articles?id=number&text=body&collection_by=topic", url)
    write(url, "insert into articles values (7, 'A pot', 'Kitchen', null, null, null)")
    before = source.collections()
    assert [*before] == ["Kitchen", "garden", "kitchen"]
    write(url, "update articles set body = 'A pan' where number = 7")
    after = source.collections()
    assert {name for name in before if before[name] != after[name]} == {"Kitchen"}


def test_a_row_larger_than_a_string_of_the_server_is_told_apart(mariadb: str) -> None:
    write(mariadb, "create or replace table big (id integer, title longtext, text longtext)")
    write(mariadb, "insert into big values (1, repeat('x', 9000000), repeat('y', 9000000))")
    source = opened("sql:big", mariadb)
    before = source.stamp()
    write(mariadb, "update big set text = concat('z', text)")
    assert source.stamp() != before


def test_what_others_write_while_it_is_read_is_left_to_the_next_run(
    postgres_url: str, connection: postgres.Connection
) -> None:
    articles(postgres_url)
    source = opened("sql:public.articles?id=number&text=body", postgres_url)

    def progress(done: int, total: int) -> None:
        write(postgres_url, f"insert into articles values ({len(writes) + 10}, 'A rake')")
        writes.append(done)

    writes: list[int] = []
    report = refresh_documents(connection, source, source.collections(), progress=progress)
    assert report.deltas["articles"].added == 3
    report = refresh_documents(connection, source, source.collections())
    assert report.deltas["articles"].added == len(writes)


def test_what_cannot_be_read_of_a_snapshot_does_not_end_it(postgres_url: str) -> None:
    query = "select n as id, (1 / (n - 3))::text as text from generate_series(1, 4) n"
    source = opened(f"sql?query={query}&fingerprint=select 1", postgres_url)
    with snapshot(source) as held:
        for _ in range(2):
            with pytest.raises(SourceError, match="division by zero"):
                list(held.read(held.collections()))


def test_the_server_waits_for_rows_to_be_taken(mariadb: str) -> None:
    query = "select 1 as id, concat(@@session.net_write_timeout) as text"
    documents, _ = read(opened(f"sql?query={query}", mariadb))
    assert documents["1"].text == "3600"


def test_a_date_of_zeros_is_none(mariadb: str) -> None:
    write(
        mariadb,
        "create or replace table notes (id integer, text text, created_at datetime)",
        "insert into notes values (1, 'old', '0000-00-00'), (2, 'new', '2026-01-05 10:00')",
    )
    documents, rejected = read(opened("sql:notes", mariadb))
    assert not rejected
    assert documents["1"].created_at is None
    assert documents["2"].created_at == datetime(2026, 1, 5, 10, tzinfo=UTC)


def test_a_fingerprint_of_the_users_own_is_asked_instead(url: str) -> None:
    articles(url)
    asked = "fingerprint=select max(number), count(*) from articles"
    source = opened(f"sql:articles?id=number&text=body&{asked}", url)
    before = source.stamp(), source.collections()
    write(url, "update articles set body = 'unseen' where number = 1")
    assert (source.stamp(), source.collections()) == before
    write(url, "delete from articles where number = 1")
    assert source.stamp() != before[0]
    assert source.collections() != before[1]


def test_a_fingerprint_for_each_collection(url: str) -> None:
    articles(url)
    asked = "select topic, count(*) from articles where number < 9 group by topic"
    spec = f"sql:articles?id=number&text=body&collection_by=topic&fingerprint={asked}"
    source = opened(spec, url)
    before = source.collections()
    assert [*before] == ["garden", "kitchen"]
    write(
        url,
        "insert into articles values (5, 'A rake', 'garden', null, null, null)",
        "insert into articles values (9, 'Lost', 'cellar', null, null, null)",
    )
    after = source.collections()
    assert after["kitchen"] == before["kitchen"]
    assert after["garden"] != before["garden"]
    documents, rejected = read(source)
    assert sorted(documents) == ["1", "2", "4", "5"]
    lost = [row for row in rejected if row.document_id == "9"]
    assert [row.reason for row in lost] == [
        "the fingerprint query does not give its collection, 'cellar'"
    ]


def test_a_fingerprint_that_is_not_one_per_collection_is_refused(url: str) -> None:
    articles(url)
    spec = "sql:articles?id=number&text=body&collection_by=topic&fingerprint="
    source = opened(spec + "select topic, number from articles", url)
    with pytest.raises(SourceError, match="gives a collection twice"):
        source.collections()
    numbers = " union all ".join(f"select {number} as n" for number in range(65))
    source = opened(f"{spec}select n, 1 from ({numbers}) as q", url)
    with pytest.raises(SourceError, match="more than 64 collections"):
        source.collections()


def test_what_the_database_says_is_one_line_without_the_password(url: str) -> None:
    articles(url)
    for spec, message in [
        ("sql:nowhere?text=body", "nowhere"),
        ("sql?query=select (&text=body", "syntax"),
        ("sql:articles?text=words", "no column words. The columns are: number, body"),
        ("sql:articles?text=body&fingerprint=select nope", "nope"),
    ]:
        with pytest.raises(SourceError) as caught:
            opened(spec, url).collections()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert PASSWORD not in str(caught.value)


def test_a_view_a_schema_and_a_name_to_be_quoted(postgres_url: str) -> None:
    write(
        postgres_url,
        'create schema "My Shop"',
        'create view "My Shop"."All" as select 1 as "Id", \'A bowl\' as "Text"',
    )
    documents, _ = read(opened("sql:My Shop.All", postgres_url))
    assert documents == {"1": Document("1", "All", "A bowl")}


def test_a_cell_that_python_cannot_hold_spoils_its_row(postgres_url: str) -> None:
    write(
        postgres_url,
        "create table notes as select * from (values"
        " (1, 'fine', timestamptz '2026-01-05 10:00+02', '{\"k\": 1}'::jsonb),"
        " (2, 'late', timestamptz '12026-01-05', null),"
        " (3, 'endless', 'infinity', null)) as v (id, text, created_at, data)",
    )
    documents, rejected = read(opened("sql:notes?metadata=data,data.k", postgres_url))
    assert documents["1"].created_at == datetime(2026, 1, 5, 8, tzinfo=UTC)
    assert documents["1"].metadata == {"data": '{"k": 1}', "data.k": 1}
    assert {row.document_id for row in rejected} == {"2", "3"}
    assert all("not a date in ISO 8601" in row.reason for row in rejected)


def test_a_decimal_that_is_no_number_is_absent(postgres_url: str) -> None:
    query = "select 1 as id, 'a' as text, 'NaN'::numeric as label, '-Infinity'::numeric as price"
    documents, _ = read(opened(f"sql?query={query}&metadata=price", postgres_url))
    assert documents == {"1": Document("1", "query", "a")}


def test_a_bad_byte_spoils_its_row_and_bytes_may_be_text(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("create table t (id, text)")
        bad, binary = "cast(x'66ff' as text)", "x'6a75737420c3bc'"
        connection.execute(f"insert into t values (1, {bad}), (2, {binary}), (3, x'ff00')")
    connection.close()
    documents, rejected = read(opened("sql:t", f"sqlite:///{tmp_path}/x.db"))
    assert documents == {"2": Document("2", "t", "just ü")}
    assert [(row.location, row.reason) for row in rejected] == [
        ("row 1", "invalid UTF-8"),
        ("row 3", "invalid UTF-8"),
    ]


def test_nothing_is_written_and_nothing_committed(postgres_url: str) -> None:
    articles(postgres_url)
    query = "with gone as (delete from articles returning *) select * from gone"
    with pytest.raises(SourceError):
        read(opened(f"sql?query={query}&id=number&text=body", postgres_url))
    documents, _ = read(opened("sql:articles?id=number&text=body", postgres_url))
    assert len(documents) == 3


def test_rows_are_streamed(url: str) -> None:
    """200 MB of rows, and memory for half of them would be too much."""
    write(url, "create table big (id integer, text text)")
    tenth = "('" + "x" * 20_000 + "')"
    for start in range(0, 2_000, 500):
        rows = ", ".join(f"({number}, {tenth})" for number in range(start, start + 500))
        write(url, f"insert into big values {rows}")
    double = "select id * 5 %2B n as id, text from big cross join (" + " union all ".join(
        f"select {number} as n" for number in range(5)
    )
    source = opened(f"sql?query={double}) as q", url)
    list(zip(range(1), source.read(["query"]), strict=False))  # what is loaded once
    tracemalloc.start()
    try:
        count = sum(1 for _ in source.read(["query"]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < 100_000_000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nonsense", "ML_ASSETS_SOURCE_URL: it is not a URL of a database"),
        ("oracle://me:hush@host/x", "no driver for oracle. Install its SQLAlchemy dialect"),
        ("nosuch://me:hush@host/x", "no driver for nosuch"),
        ("sqlite://", "there is no file a database in memory"),
        ("sqlite:////no/such.db", "there is no file /no/such.db"),
    ],
)
def test_a_database_that_cannot_be_reached(given: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        opened("sql:t", given).collections()
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mariadb+pymysql"])
def test_a_server_that_is_down(kind: str) -> None:
    source = opened("sql:t", f"{kind}://me:hush@127.0.0.1:{free_port()}/shop")
    with pytest.raises(SourceError, match="Check ML_ASSETS_SOURCE_URL") as caught:
        source.collections()
    assert "hush" not in str(caught.value)


def test_the_url_is_needed_and_does_not_belong_into_the_source() -> None:
    with pytest.raises(SettingError, match="ML_ASSETS_SOURCE_URL: sql needs it"):
        open_source("sql:t", load_settings())
    with pytest.raises(SettingError, match="Write the URL to ML_ASSETS_SOURCE_URL") as caught:
        open_source("sql:postgresql://me:hush@host/x", load_settings())
    assert "hush" not in str(caught.value)
    with pytest.raises(SourceError, match="no path"):
        open_source("sql", load_settings())


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (
            "postgresql://me:hush@db.example.org:5433/shop?sslmode=require",
            "db.example.org:5433/shop",
        ),
        ("mysql://me@db/shop", "db/shop"),
        ("mariadb+pymysql://db", "db/"),
    ],
)
def test_the_name_of_a_source_tells_where_and_not_who(given: str, place: str) -> None:
    assert Database(given).place == place
    assert opened("sql:t", given).name == f"sql:{place}/t"
