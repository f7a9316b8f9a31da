"""`make bench-drift-year`: a year of the daily partitions of `feature_drift`, compared in one run.

Documents of random words, as many each day, with vectors of 384 numbers; there is no champion, so
each day is compared with the 7 and the 28 days before.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import dagster as dg

from bench import ours
from bench.rows import Figure, Row, table
from ml_assets.defs.features.assets import feature_drift
from ml_assets.defs.partitions import range_tags
from ml_assets.defs.resources import build_resources
from ml_assets.documents.model import Document
from ml_assets.features.documents import refresh_document_features
from ml_assets.settings import load_settings
from ml_assets.stores import duckdb, postgres
from ml_assets_tests.fakes import SPACE, HashEncoder
from ml_assets_tests.features.corpus import load_into
from ml_assets_tests.graph import fake_encoder

FIRST = date(2025, 1, 1)
_WIDE = replace(SPACE, dimension=384)


def main() -> None:
    """Fill a home, compare its days in one run, and say how long that took."""
    parser = argparse.ArgumentParser(prog="python -m bench.drift_year", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--documents", type=int, default=40, help="of each day")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ml_assets-bench-") as folder:
        seconds, compared = measure(Path(folder), asked.days, asked.documents)
    assert compared == asked.days, compared
    figure = Figure("one run", (seconds,), "s", asked.days, "days")
    print(
        table(
            [Row(f"`feature_drift` of {asked.days} days, {asked.documents} documents each", figure)]
        )
    )


def measure(work: Path, days: int, documents: int) -> tuple[float, int]:
    """The seconds of a run over so many days, and how many of them it compared."""
    with ours.embedded_server(work):
        settings = load_settings(home=work)
        with (
            postgres.connect(None, work) as connection,
            duckdb.connect(settings.duckdb_file) as duck,
        ):
            load_into(connection, *_documents(days, documents), space=_WIDE, chunk_tokens=60)
            refresh_document_features(connection, duck, _WIDE.space_id)
        encoder = fake_encoder(settings, HashEncoder(_WIDE))
        last = FIRST + timedelta(days=days - 1)
        began = time.perf_counter()
        dg.materialize(
            [feature_drift],
            resources={**build_resources(settings), "encoder": encoder},
            tags=range_tags(dg.PartitionKeyRange(f"{FIRST}", f"{last}")),
        )
        seconds = time.perf_counter() - began
        with duckdb.connect(settings.duckdb_file) as duck:
            query = "select count(distinct day) from drift_comparisons where outcome <> ''"
            ((compared,),) = duck.execute(query).fetchall()
    return seconds, compared


def _documents(days: int, each: int) -> Iterator[Document]:
    draw = Random(0)
    for number in range(days * each):
        came = datetime(FIRST.year, FIRST.month, FIRST.day, 12, tzinfo=UTC)
        yield Document(
            document_id=f"d{number:06}",
            collection="all",
            text=" ".join(f"w{draw.randrange(3000)}" for _ in range(10 + number % 20)),
            label=("ham", "spam")[number % 2],
            created_at=came + timedelta(days=number // each),
        )


if __name__ == "__main__":
    main()
