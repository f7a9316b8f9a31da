"""A folder of PDF: cold, unchanged, and 1 % changed: `python -m bench.extraction [DOCUMENTS]`.

The documents are those of the standard library, one PDF each. Beside what makes the tables equal to
them stands what extracts them alone, one after the other in one process.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from rich.console import Console
from rich.table import Table

from bench import corpus
from bench.measure import processor_seconds
from ml_assets.documents.formats import extracted
from ml_assets.documents.refresh import refresh_documents
from ml_assets.documents.sources import open_source
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres

DOCUMENTS = 2_000
_LINES, _WIDTH = 60, 95
"""Of a page."""


@dataclass(frozen=True)
class Taken:
    """Seconds by the clock and of all processors, and the documents that were written."""

    what: str
    seconds: float
    processors: float
    written: int


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTS
    texts = corpus.spread(corpus.read_source("python_docs"), count)
    with tempfile.TemporaryDirectory(prefix="ml_assets-bench-") as work:
        pages = Path(work, "pages")
        pages.mkdir()
        write(pages, texts)
        settings = load_settings(home=Path(work, "home"), source=f"files:{pages}")
        with postgres.connect(None, settings.home):  # its start is not of interest
            taken = [extracted_alone(pages, settings), refreshed("cold", settings)]
            taken.append(refreshed("unchanged, asked for all the same", settings))
            write(pages, corpus.edit(texts, 1))
            taken.append(refreshed("1 % changed", settings))
        postgres.stop(settings.home)
    Console().print(shown(len(texts), taken))


def write(folder: Path, texts: Sequence[corpus.Text]) -> None:
    for place, text in enumerate(texts):
        (folder / f"{place:05}.pdf").write_bytes(as_pdf(text.title, text.text))


def as_pdf(title: str, text: str) -> bytes:
    """A PDF with the text in pages of lines, in Helvetica; what is not ASCII becomes `?`."""
    lines = [part for line in text.splitlines() for part in wrap(line, _WIDTH) or [""]]
    pages = [lines[at : at + _LINES] for at in range(0, len(lines), _LINES)] or [[]]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<</Type /Catalog /Pages 2 0 R>>",
        f"<</Type /Pages /Kids [{kids}] /Count {len(pages)}>>".encode(),
        b"<</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>",
    ]
    for number, page in enumerate(pages):
        shown = b"".join(b"(%s) '\n" % _escaped(line) for line in page)
        stream = b"BT /F1 10 Tf 12 TL 40 780 Td\n%sET" % shown
        objects += [
            b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources <</Font <</F1 3 0 R>>>>>>" % (5 + 2 * number),
            b"<</Length %d>>\nstream\n%s\nendstream" % (len(stream), stream),
        ]
    objects.append(b"<</Title (%s)>>" % _escaped(title))
    return b"".join(_file(objects))


def _escaped(text: str) -> bytes:
    escaped = "".join(f"\\{sign}" if sign in "()\\" else sign for sign in text)
    return escaped.encode("ascii", "replace")


def _file(objects: Sequence[bytes]) -> Iterator[bytes]:
    """The objects, where each begins, and that the first is the catalog and the last tells it."""
    yield (head := b"%PDF-1.4\n")
    place, places = len(head), []
    for number, body in enumerate(objects, 1):
        places.append(place)
        yield (written := b"%d 0 obj\n%s\nendobj\n" % (number, body))
        place += len(written)
    yield b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    yield from (b"%010d 00000 n \n" % begin for begin in places)
    yield b"trailer\n<</Size %d /Root 1 0 R /Info %d 0 R>>\n" % (len(objects) + 1, len(objects))
    yield b"startxref\n%d\n%%%%EOF\n" % place


def extracted_alone(folder: Path, settings: Settings) -> Taken:
    """Extract every document in this process, which keeps nothing.

    Raises:
        SystemExit: one cannot be read.
    """
    files = sorted(folder.iterdir())
    extracted.extract(files[0].read_bytes(), ".pdf")  # loads the library
    began, used = time.perf_counter(), processor_seconds(settings.home)
    for file in files:
        if isinstance(reason := extracted.extract(file.read_bytes(), ".pdf"), str):
            sys.exit(f"{file.name}: {reason}")
    seconds, used = time.perf_counter() - began, processor_seconds(settings.home) - used
    return Taken("extraction alone, one process", seconds, used, 0)


def refreshed(what: str, settings: Settings) -> Taken:
    """Make the documents of the tables those of the folder."""
    began, used = time.perf_counter(), processor_seconds(settings.home)
    with postgres.connect(None, settings.home) as connection:
        source = open_source(settings.source, settings)
        report = refresh_documents(connection, source, source.collections())
    seconds, used = time.perf_counter() - began, processor_seconds(settings.home) - used
    written = sum(delta.added + delta.changed for delta in report.deltas.values())
    return Taken(what, seconds, used, written)


def shown(count: int, taken: Sequence[Taken]) -> Table:
    table = Table("", "documents written", "seconds", "of processors", title=f"{count:,} PDF")
    for each in taken:
        cells = (f"{each.written:,}", f"{each.seconds:.2f}", f"{each.processors:.2f}")
        table.add_row(each.what, *cells)
    return table


if __name__ == "__main__":
    main()
