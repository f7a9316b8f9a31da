"""1 % of the rows of a database changed: `python -m bench.databases [ROWS] [OPTION…]` tells it.

Each database is read beside a CSV of the same rows, in turns; what is timed is a source that is
asked for its collections, and the documents that are made equal to it. Options such as
`collection_by=topic` or `fingerprint=select max(turn) from articles` are those of the source.
"""

from __future__ import annotations

import csv
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pydoc_data.topics import topics
from statistics import median
from urllib.parse import quote

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from bench.measure import processor_seconds
from ml_assets.documents.refresh import refresh_documents
from ml_assets.documents.sources import open_source
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets_tests.servers import mariadb_over_tcp, postgres_over_tcp

ROWS, TURNS = 100_000, 3
FILES = "files, CSV"
_COLUMNS = ("number", "title", "body", "topic", "price", "written", "turn")
_MAPPED = "id=number&text=body&label=topic&created_at=written&metadata=price&name=articles"
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
_TICK = 2.5
"""Seconds after which a file that is written again has another time for sure."""

Rows = list[list[object]]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    options = "".join(f"&{name}={quote(value)}" for name, value in _given(sys.argv[2:]).items())
    taken: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="ml_assets-bench-") as work, ExitStack() as stack:
        folder, rows = Path(work), made_rows(count)
        databases = {name: stack.enter_context(_DATABASES[name](folder)) for name in _DATABASES}
        for url in databases.values():
            create(url, rows)
        of_files = f"files:{folder}/articles.csv?{_MAPPED}"
        deployments = {FILES: load_settings(home=folder / "csv", source=of_files)} | {
            name: load_settings(
                home=folder / f"home-{name}",
                source=f"sql:articles?{_MAPPED}{options}",
                source_url=url,
            )
            for name, url in databases.items()
        }
        for turn in range(TURNS + 1):
            changed = edit(rows, turn) if turn else []
            write(folder / "articles.csv", rows)
            for url in databases.values():
                update(url, changed)
            time.sleep(_TICK)
            for name, settings in deployments.items():
                seconds = refreshed(settings, len(changed), folder)
                if turn:
                    taken[name].append(seconds)
        for settings in deployments.values():
            postgres.stop(settings.home)
    Console().print(shown(count, taken))


def _given(words: list[str]) -> Mapping[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def made_rows(count: int) -> Rows:
    """Rows of about 600 characters; the last cell tells when it was changed."""
    words, draw = " ".join(topics.values()).split(), random.Random(0)
    return [
        [
            number,
            " ".join(draw.choices(words, k=8)),
            " ".join(draw.choices(words, k=80)),
            f"topic {number % 20}",
            number % 1000 / 4,
            f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d} 10:00:00",
            0,
        ]
        for number in range(count)
    ]


def edit(rows: Rows, turn: int) -> Rows:
    """Change every hundredth row, others at each turn; return them."""
    changed = rows[turn % 100 :: 100]
    for row in changed:
        row[2], row[6] = f"edited {turn} {row[2]}", turn
    return changed


def write(file: Path, rows: Rows) -> None:
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([_COLUMNS, *rows])


def create(url: str, rows: Rows) -> None:
    with _engine(url).begin() as connection:
        connection.exec_driver_sql(
            "create table articles (number integer primary key, title text, body text,"
            " topic varchar(40), price double precision, written timestamp null, turn integer)"
        )
        table = sa.table("articles", *map(sa.column, _COLUMNS))
        connection.execute(table.insert(), [dict(zip(_COLUMNS, row, strict=True)) for row in rows])


def update(url: str, rows: Rows) -> None:
    statement = sa.text("update articles set body = :body, turn = :turn where number = :number")
    with _engine(url).begin() as connection:
        for row in rows:
            connection.execute(statement, dict(zip(_COLUMNS, row, strict=True)))


def refreshed(settings: Settings, changed: int, folder: Path) -> tuple[float, float]:
    """Seconds by the clock and of all processors, to make the documents those of the source.

    Counted are this process and the servers that work in `folder`.

    Raises:
        SystemExit: other rows were changed than are found.
    """
    with postgres.connect(None, settings.home) as connection:
        began, used = time.perf_counter(), processor_seconds(folder)
        present = open_source(settings.source, settings).collections()
        report = refresh_documents(connection, open_source(settings.source, settings), present)
        seconds = time.perf_counter() - began, processor_seconds(folder) - used
    if (found := sum(delta.changed for delta in report.deltas.values())) != changed:
        sys.exit(f"{settings.source}: {found} documents changed, and {changed} rows")
    return seconds


def shown(count: int, taken: Mapping[str, list[tuple[float, float]]]) -> Table:
    title = f"{count // 100:,} of {count:,} rows changed, medians of {TURNS} turns"
    table = Table("source", "seconds", "times", "of processors", "times", title=title)
    base = [median(part) for part in zip(*taken[FILES], strict=True)]
    for name, samples in taken.items():
        pairs = zip((median(part) for part in zip(*samples, strict=True)), base, strict=True)
        cells = [cell for own, other in pairs for cell in (f"{own:.2f}", f"{own / other:.2f}")]
        table.add_row(name, *cells)
    return table


def _engine(url: str) -> sa.Engine:
    kind, _, rest = url.partition("://")
    return sa.create_engine(f"{_DRIVERS.get(kind, kind)}://{rest}", poolclass=sa.NullPool)


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder}/shop.db"


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    (folder / "postgresql").mkdir()
    with postgres_over_tcp(folder / "postgresql") as url:
        yield url


@contextmanager
def _mariadb(folder: Path) -> Iterator[str]:
    (folder / "mariadb").mkdir()
    with mariadb_over_tcp(folder / "mariadb") as url:
        yield url


_DATABASES = {"sqlite": _sqlite, "postgresql": _postgresql, "mariadb": _mariadb}


if __name__ == "__main__":
    main()
