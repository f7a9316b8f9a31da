"""The keyword index: BM25 over English stems, in a tantivy folder per generation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import tantivy

from ml_assets.errors import StoreError
from ml_assets.search.filters.language import NO_FILTER, Condition, Filter
from ml_assets.search.indexes.contract import Entry, Ranking
from ml_assets.search.indexes.keyword.filters import attribute_token, is_expressible, keyword_query
from ml_assets.search.indexes.keyword.spelling import spell
from ml_assets.search.indexes.keyword.words import (
    UNFOLDED,
    Term,
    accent_marks,
    analyzer,
    query_terms,
)
from ml_assets.search.model import Generation
from ml_assets.stores.file_locks import locked, removed
from ml_assets.stores.folders import folder, usable

INEXACT = 0.5
"""What a word counts that differs from the query's in its accents, where others do not."""

_ANALYZER = "ml_assets_english"
_MARK = "ml_assets_mark"
_META, _MANAGED, _LOCK = "meta.json", ".managed.json", ".lock"
_OPENING = ".tantivy-meta.lock"
_PATIENCE = 60.0
"""Seconds to wait for who opens the segments."""
_HEAP_BYTES = 128_000_000


class KeywordIndex:
    """A tantivy index; reading needs no lock, writing takes tantivy's own."""

    kind = "keyword"
    stores_vectors = False

    def __init__(self, home: Path, generation: Generation) -> None:
        """Name the folder under `home`; nothing is created before the first `upsert`."""
        self.generation = generation
        self.path = home / generation.generation_id
        self.lock: Path | None = home / f".{generation.generation_id}.lock"
        # Those of an earlier layout answer until the next run has published another.
        self._layout = int(generation.parameters["keyword"]["layout"])
        self._folds = self._layout > UNFOLDED
        self._opened: tantivy.Index | None = None
        self._writer: tantivy.IndexWriter | None = None

    def query(self, text: str, k: int, filters: Filter = NO_FILTER) -> Ranking:
        """Rank what holds a word of `text`, in title or text: it is no query language.

        Beyond `MAX_TERMS` distinct terms the rest is left out.
        """
        index = self._find()
        if index is None:
            raise StoreError(
                "there is no keyword index here",
                where=str(self.path),
                do="Materialize `keyword_index`, or check KEYWORD_INDEX_PATH",
            )
        terms = query_terms(text, self._layout)
        if not terms:
            return Ranking((), (), exhausted=True)
        with self._explained():
            searcher = index.searcher()
            asked = self._query(index.schema, searcher, terms, filters)
            hits = searcher.search(asked, k, count=False).hits
            scored = [
                (score, str(searcher.doc(address).get_first("chunk_id"))) for score, address in hits
            ]
        return Ranking.best_first(scored, exhausted=len(hits) < k)

    def query_many(self, texts: Sequence[str], k: int) -> list[Ranking]:
        return [self.query(text, k) for text in texts]

    def expresses(self, condition: Condition) -> bool:
        return is_expressible(condition)

    def size(self) -> int:
        index = self._find()
        with self._explained():
            return index.searcher().num_docs if index else 0

    def differing(self, batches: Iterable[Sequence[Entry]]) -> list[str]:
        return []

    def disk_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.path.glob("*"))

    def drop(self, kept: Sequence[Generation] = ()) -> bool:
        self.close()
        return self.lock is None or removed(self.path, self.lock)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.wait_merging_threads()
        self._writer = self._opened = None

    def revisions(self, chunk_ids: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        index = self._find()
        if index is None or not index.searcher().num_docs:
            return
        searcher = index.searcher()
        query = tantivy.Query.all_query()
        if chunk_ids is not None:
            query = tantivy.Query.term_set_query(index.schema, "chunk_id", list(chunk_ids))
        with self._explained():
            for _, address in searcher.search(query, searcher.num_docs, count=False).hits:
                stored = searcher.doc(address)
                revision = bytes.fromhex(str(stored.get_first("revision")))
                yield str(stored.get_first("chunk_id")), revision

    def mark(self) -> str:
        file = self.path / _MARK
        return file.read_text() if file.exists() else ""

    def set_mark(self, mark: str) -> None:
        (self.path / _MARK).write_text(mark)

    def upsert(self, entries: Sequence[Entry]) -> int:
        writer = self._writing()
        for entry in entries:
            writer.delete_documents_by_term("chunk_id", entry.chunk_id)
            writer.add_document(_document(entry, self._layout))
        self._commit(writer)
        return 0

    def remove(self, chunk_ids: Sequence[str]) -> None:
        writer = self._writing()
        for chunk_id in chunk_ids:
            writer.delete_documents_by_term("chunk_id", chunk_id)
        self._commit(writer)

    def rewrite(self, batches: Iterable[Sequence[Entry]]) -> bool:
        if not (self.path / _META).exists():
            return False
        self.close()
        staging = self.path.with_name(f".{self.path.name}.new")
        shutil.rmtree(staging, ignore_errors=True)  # of one that was killed
        fresh = KeywordIndex(staging, self.generation)
        fresh.upsert(())
        for entries in batches:
            fresh.upsert(entries)
        fresh.close()
        with self._explained():
            _take_place(fresh.path, self.path)
        shutil.rmtree(staging)
        return True

    def _query(
        self,
        schema: tantivy.Schema,
        searcher: tantivy.Searcher,
        terms: Sequence[Term],
        filters: Filter,
    ) -> tantivy.Query:
        from tantivy import Occur, Query

        matching = Query.boolean_query(
            [(Occur.Should, self._finding(schema, searcher, term)) for term in terms]
        )
        if filters == NO_FILTER:
            return matching
        # A condition decides, and does not score.
        passing = Query.const_score_query(keyword_query(filters, schema), 0.0)
        return Query.boolean_query([(Occur.Must, matching), (Occur.Must, passing)])

    def _finding(
        self, schema: tantivy.Schema, searcher: tantivy.Searcher, term: Term
    ) -> tantivy.Query:
        """What has the term; where some has it in the written form, the others count less."""
        from tantivy import Occur, Query

        parameters = self.generation.parameters["keyword"]
        boost, tie_breaker = float(parameters["title_boost"]), float(parameters["tie_breaker"])
        title = Query.term_query(schema, "title", term.folded, "freq")
        text = Query.term_query(schema, "text", term.folded, "freq")
        either = Query.disjunction_max_query([Query.boost_query(title, boost), text], tie_breaker)
        # Of nearly all words there is one form, which this tells at once.
        if not self._folds or not searcher.doc_freq("accents", term.mark):
            return either
        marked = Query.term_query(schema, "accents", term.mark, "basic")
        decides = (
            (Occur.Must, Query.const_score_query(marked, 0.0))
            if term.is_accented
            else (Occur.MustNot, marked)
        )
        exact = Query.boolean_query([(Occur.Must, either), decides])
        if not searcher.search(exact, 1, count=False).hits:
            return either
        return Query.disjunction_max_query([exact, Query.boost_query(either, INEXACT)])

    def _find(self) -> tantivy.Index | None:
        if self._opened is None and (self.path / "meta.json").exists():
            self._opened = self._open()
        return self._opened

    def _open(self) -> tantivy.Index:
        with self._explained():
            index = tantivy.Index(_schema(self._folds), path=str(folder(self.path)))
        index.register_tokenizer(_ANALYZER, analyzer(self._layout, folded=self._folds))
        return index

    def _writing(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._opened = self._find() or self._open()
            with self._explained():
                # One thread: many would leave many small segments behind every small delta.
                self._writer = self._opened.writer(_HEAP_BYTES, 1)
        return self._writer

    def _commit(self, writer: tantivy.IndexWriter) -> None:
        with self._explained():
            writer.commit()
        if self._opened:
            self._opened.reload()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with usable(self.path, "the keyword index", ValueError, OSError):
            try:
                yield
            except ValueError as error:
                if "LockBusy" not in str(error):
                    raise
                what = "another program is writing this keyword index"
                where, do = str(self.path), "Wait until it has finished"
                raise StoreError(what, where=where, do=do) from None


def _take_place(fresh: Path, old: Path) -> None:
    """Move the files of an index into the folder of another, whose own then go.

    Names of segments are unique, and `meta.json` says which are in the index: it changes at once.
    tantivy locks out who opens the segments that it names meanwhile, as it does itself before it
    removes one; who has them open reads on.
    """
    names = {file.name for file in fresh.iterdir() if file.suffix != _LOCK}
    with locked(old / _OPENING, _PATIENCE):
        for name in sorted(names - {_META, _MANAGED}):
            (fresh / name).replace(old / name)
        os.sync()
        for name in (_META, _MANAGED):
            (fresh / name).replace(old / name)
        for file in old.iterdir():
            if file.name not in {*names, _MARK} and file.suffix != _LOCK:
                file.unlink()


@cache
def _schema(folds: bool) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    # tantivy opens a folder only with its fields in the same order.
    for field in ("chunk_id", "revision"):
        builder.add_text_field(field, stored=True, tokenizer_name="raw", index_option="basic")
    for field in ("title", "text"):
        builder.add_text_field(field, tokenizer_name=_ANALYZER, index_option="freq")
    for field in ("collection", "label", "attribute", *(("accents",) if folds else ())):
        builder.add_text_field(field, tokenizer_name="raw", index_option="basic")
    builder.add_integer_field("created_at", indexed=True, fast=True)
    return builder.build()


def _document(entry: Entry, layout: int) -> tantivy.Document:
    document = tantivy.Document()
    document.add_text("revision", entry.revision.hex())
    for field in ("chunk_id", "collection", "label"):
        if (word := getattr(entry, field)) is not None:
            document.add_text(field, word)
    title, text = entry.title, entry.text
    if folds := layout > UNFOLDED:
        title, text = spell(title, layout), spell(text, layout)
    document.add_text("title", title)
    document.add_text("text", text)
    if entry.created_at is not None:
        document.add_integer("created_at", entry.created_at)
    for mark in accent_marks((title, text), layout) if folds else ():
        document.add_text("accents", mark)
    for key, value in entry.metadata.items():
        document.add_text("attribute", attribute_token(key, value))
    return document
