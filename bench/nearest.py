"""`make bench-nearest`: the distance to the nearest document, after some of many have changed.

Documents of random words with random vectors of 384 numbers; what is measured is the step of the
asset `document_features`, and of a sample of distances how many are the exact ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import dagster as dg
import numpy as np

from bench import ours
from bench.rows import Figure, Limit, Row, table
from ml_assets.defs.features.assets import document_features
from ml_assets.defs.resources import build_resources
from ml_assets.documents.model import Document
from ml_assets.embeddings.quantization import unit
from ml_assets.features.documents import read_vectors
from ml_assets.features.offline import current_rows
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import duckdb, postgres
from ml_assets_tests.fakes import SPACE, HashEncoder
from ml_assets_tests.features.corpus import load_into
from ml_assets_tests.graph import fake_encoder

_WIDE = replace(SPACE, dimension=384)
_SAMPLE = 1_000
_SAME = 1e-3
_SECONDS = 5.0


def main() -> None:
    """Fill a home, change some of its documents several times, and say how long the asset took."""
    parser = argparse.ArgumentParser(prog="python -m bench.nearest", description=__doc__)
    parser.add_argument("documents", type=int, nargs="?", default=77_000)
    parser.add_argument("--changed", type=float, default=0.01, help="share of them")
    parser.add_argument("--repetitions", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ml_assets-bench-") as folder:
        rows = measure(Path(folder), asked.documents, asked.changed, asked.repetitions)
    print(table(rows))


def measure(work: Path, documents: int, share: float, repetitions: int) -> list[Row]:
    """The seconds of the asset on all documents and on those that changed; exact distances."""
    draw, changed = Random(0), Figure("changed", (), "s")
    versions = dict.fromkeys(range(documents), 0)
    with ours.embedded_server(work):
        settings = load_settings(home=work)
        _load(settings, versions)
        first = _seconds(settings)
        for _ in range(repetitions):
            for number in draw.sample(range(documents), round(documents * share)):
                versions[number] += 1
            _load(settings, versions)
            changed = replace(changed, samples=(*changed.samples, _seconds(settings)))
        exact = _exact(settings, draw)
    what = f"`document_features`, {documents:,} documents"
    return [
        Row(what, Figure("all", (first,), "s"), None),
        Row(f"{what}, {share:.0%} changed", changed, None, Limit(plus=_SECONDS, unit="s")),
        Row(f"within {_SAME} of exact", Figure("share", (exact,), ""), None, Limit(at_least=0.99)),
    ]


def _load(settings: Settings, versions: dict[int, int]) -> None:
    with postgres.connect(None, settings.home) as connection:
        load_into(connection, *_documents(versions), space=_WIDE, chunk_tokens=60)


def _seconds(settings: Settings) -> float:
    """The seconds of the step of the asset."""
    encoder = fake_encoder(settings, HashEncoder(_WIDE))
    resources = {**build_resources(settings), "encoder": encoder}
    done = dg.materialize([document_features], resources=resources)
    (event,) = (each for each in done.all_events if each.is_step_success)
    return float(event.step_success_data.duration_ms) / 1000


def _exact(settings: Settings, draw: Random) -> float:
    """The share of a sample whose distance is that of comparing with all."""
    query = f"select entity_id, nearest_distance from ({current_rows(DOCUMENT_TEXT)})"  # noqa: S608
    with duckdb.connect(settings.duckdb_file) as duck:
        found = dict(duck.execute(query).fetchall())
    with postgres.connect(None, settings.home) as connection:
        names, read = read_vectors(connection, _WIDE.space_id)
    vectors, places = unit(read), draw.sample(range(len(names)), min(_SAMPLE, len(names)))
    cosines = vectors[places] @ vectors.T
    cosines[np.arange(len(places)), places] = -1
    distances = 1 - cosines.max(axis=1)
    apart = [
        abs(found[names[place]] - distance)
        for place, distance in zip(places, distances, strict=True)
    ]
    return float(np.mean(np.array(apart) <= _SAME))


def _documents(versions: dict[int, int]) -> Iterator[Document]:
    for number, version in versions.items():
        draw = Random(f"{number} {version}")
        words = (f"w{draw.randrange(3000)}" for _ in range(10 + number % 20))
        yield Document(document_id=f"d{number:06}", collection="all", text=" ".join(words))


if __name__ == "__main__":
    main()
