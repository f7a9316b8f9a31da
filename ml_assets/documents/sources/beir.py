"""A benchmark in the form of BEIR: a corpus, queries, and which documents answer which query."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ml_assets.documents.formats.rows import columns_from
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.sources.base import JudgedQueries, JudgedQuery
from ml_assets.documents.sources.files import Files
from ml_assets.documents.sources.judged import half_of
from ml_assets.errors import SourceError

SPLIT_FROM = 100
"""Judged queries from which half of them tells something, and the other half suffices to tune."""

_NOT_A_QUERY = 'not an object like {"_id": …, "text": …}'
_JUDGMENTS = ("query-id", "corpus-id", "score")


class Beir:
    """A folder with `corpus.jsonl`, `queries.jsonl` and `qrels.tsv`: one collection.

    `queries_train.jsonl` and `qrels_train.tsv`, where there are any, are the queries for tuning.
    Without them these are, of `SPLIT_FROM` queries and more, those whose id has a sha256 that
    begins with an even byte.
    """

    def __init__(self, folder: str, max_document_bytes: int, name: str = "") -> None:
        """Describe the source; the collection is called `name`, or as the folder."""
        self._folder = Path(folder).expanduser()
        corpus, columns = str(self._folder / "corpus.jsonl"), columns_from({"id": "_id"})
        self._corpus = Files(corpus, columns, max_document_bytes, name or self._folder.name)

    @property
    def name(self) -> str:
        """The kind and the folder."""
        return f"beir:{self._folder}"

    def stamp(self) -> str:
        """Return what the file system says of the corpus."""
        return self._corpus.stamp()

    def collections(self) -> dict[str, str]:
        """Return the one collection, with a hash of the corpus."""
        return self._corpus.collections()

    def columns(self) -> dict[str, list[str]]:
        """Return the columns of the corpus."""
        return self._corpus.columns()

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        """Stream the corpus."""
        return self._corpus.read(collections)

    def judged_queries(self) -> JudgedQueries:
        """Return the queries for reporting and those for tuning; no question is in both.

        Raises:
            SourceError: a file is missing or malformed; the line says which and where.
        """
        test = self._queries("queries.jsonl", "qrels.tsv", "reporting")
        if not (self._folder / "queries_train.jsonl").exists():
            return tuple(map(_with_half, test)) if len(test) >= SPLIT_FROM else test
        texts = {query.text for query in test}
        training = self._queries("queries_train.jsonl", "qrels_train.tsv", "tuning")
        return test + tuple(
            # Either file may count its queries from 1.
            replace(query, query_id=f"train/{query.query_id}")
            for query in training
            if query.text not in texts
        )

    def _queries(
        self, queries: str, judgments: str, half: Literal["tuning", "reporting"]
    ) -> JudgedQueries:
        relevant = self._judgments(judgments)
        return tuple(
            JudgedQuery(identity, text, relevant[identity], half)
            for identity, text in self._texts(queries)
            if identity in relevant
        )

    def _texts(self, name: str) -> Iterator[tuple[str, str]]:
        for number, line in enumerate(self._lines(name), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                yield str(row["_id"]), str(row["text"])
            except (ValueError, KeyError, TypeError):
                where, do = f"{self._folder / name} line {number}", "Mend or remove the line"
                raise SourceError(_NOT_A_QUERY, where=where, do=do) from None

    def _judgments(self, name: str) -> dict[str, dict[str, int]]:
        """Return query, then document, then grade; judgments of 0 and less are left out."""
        relevant: dict[str, dict[str, int]] = defaultdict(dict)
        rows = csv.reader(self._lines(name), delimiter="\t")
        try:
            if tuple(next(rows, ())) != _JUDGMENTS:
                do = f"Write {' '.join(_JUDGMENTS)}, separated by tabs"
                raise SourceError("the header is wrong", where=str(self._folder / name), do=do)
            for cells in filter(None, rows):
                query, document, grade = cells[0], cells[1], int(cells[2])
                if grade > 0:
                    relevant[query][document] = grade
        except (ValueError, IndexError, csv.Error):
            where = f"{self._folder / name} row {rows.line_num}"
            do = f"Write {', '.join(_JUDGMENTS)}, separated by tabs, the score as an integer"
            raise SourceError("not a judgment", where=where, do=do) from None
        return dict(relevant)

    def _lines(self, name: str) -> list[str]:
        file = self._folder / name
        try:
            with file.open(encoding="utf-8") as lines:
                return list(lines)
        except OSError as error:
            message, do = f"cannot be read ({error.strerror})", "Add the file, or make it readable"
        except UnicodeDecodeError:
            message, do = "invalid UTF-8", "Save the file as UTF-8"
        raise SourceError(message, where=str(file), do=do)


def _with_half(query: JudgedQuery) -> JudgedQuery:
    return replace(query, half=half_of(query.query_id))
