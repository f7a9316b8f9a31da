"""One opened deployment, asked from Python: search, answer, predict, features, documents.

What is slow to open (PostgreSQL, the indexes, the encoder) is opened at its first use and kept.
After an error of a store, the next call opens the stores anew.
Not here: anything that writes; that is a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ml_assets.errors import NothingToDoError, StoreError, UserError
from ml_assets.search.filters.language import NO_FILTER, Condition
from ml_assets.search.filters.parse import parse_condition
from ml_assets.settings import Settings, load_settings, secret
from ml_assets.stores import postgres

if TYPE_CHECKING:
    from ml_assets.answers.model import Answer, Sentence
    from ml_assets.documents.model import Document
    from ml_assets.embeddings.caching import CachingEncoder
    from ml_assets.registry.serving import Prediction, ServedPredictions
    from ml_assets.releases.pointer import Release
    from ml_assets.search.answering.model import Engine, Method, SearchResult
    from ml_assets.service.client import Client
    from ml_assets.stores.cache import CacheStatistics, ReadThrough
    from ml_assets.stores.online import Kept, Reading, Value


class Session:
    """A deployment that answers; a context manager, for one thread."""

    def __init__(self, settings: Settings) -> None:
        """Open nothing yet: what a call needs is opened by that call."""
        self.settings = settings
        self._stores = ExitStack()
        self._indexes = ExitStack()
        self._engine: Engine | None = None
        self._marks: dict[str, str] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: Any) -> None:
        self._close(*error)

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        method: Method = "hybrid",
        filters: Condition | str = NO_FILTER,
        min_relevance: float = 0.0,
    ) -> SearchResult:
        """Find the `k` best documents in the published generation, each shown by its best chunk.

        `filters` is a condition, or its text as `ml-assets search --filter` takes it. When another
        generation was published since the last call, or documents changed, on this host or another,
        that is what answers. Documents of less than `min_relevance` are left out.

        Raises:
            NothingToDoError: no search was published yet.
            UserError: the query, `k`, the method or the filter cannot be used.
            SpaceMismatchError: the settings name another model than the generation was built with.
            StoreError: a store does not answer, or an index is missing.
        """
        from ml_assets.search.answering.model import check_request

        check_request(query, k, method)  # before anything is opened
        condition = parse_condition(filters) if isinstance(filters, str) else filters
        with self._answering():
            engine, encoder = self._opened_engine(query, method)
            from ml_assets.search.answering.engine import search

            return search(
                engine,
                query,
                encoder,
                k=k,
                method=method,
                filters=condition,
                min_relevance=min_relevance,
            )

    def similar(
        self, document_id: str, *, k: int = 10, filters: Condition | str = NO_FILTER
    ) -> SearchResult:
        """Find the `k` documents that are nearest to one, each shown by its best chunk.

        Raises:
            NothingToDoError: no search was published yet, or it has no vectors of such a document.
            UserError: `k` or the filter cannot be used.
            StoreError: a store does not answer, or an index is missing.
        """
        from ml_assets.search.answering.engine import similar

        condition = parse_condition(filters) if isinstance(filters, str) else filters
        with self._answering():
            return similar(self._published_engine(), document_id, k=k, filters=condition)

    def answer(
        self,
        question: str,
        *,
        k: int = 5,
        filters: Condition | str = NO_FILTER,
        extractive: bool = False,
        on_sentence: Callable[[Sentence], None] | None = None,
    ) -> Answer:
        """Answer a question from the `k` best documents, each sentence with what it cites.

        The language model of LLM_URL and LLM_MODEL writes it; without one, or `extractive`, the
        answer is parts of the passages. `on_sentence` is called with each sentence as soon as it
        is whole and its citations were checked.

        Raises:
            NothingToDoError: no search was published yet.
            UserError: the question, `k` or the filter cannot be used.
            SettingError: one of LLM_URL and LLM_MODEL is set without the other.
            LanguageModelError: the language model does not answer.
            StoreError: a store does not answer, or an index is missing.
        """
        from ml_assets.answers.answering import answered, check_question, gather, respond
        from ml_assets.answers.llm import language_model

        check_question(question, k)
        model = None if extractive else language_model(self.settings)
        grounds = gather(question, self.search(question, k=k, filters=filters), self.settings)
        return answered(respond(grounds, model, self.settings), on_sentence)

    def predict(
        self, texts: Sequence[str], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> list[dict[str, float]]:
        """Return the champion's probabilities of every label, likeliest first, for each text.

        A text is treated as a document would be: normalised, chunked, embedded, described by the
        features that the champion was trained with. A title, if there is one, is the first line.
        `metadata` of each text, as in `[{"author_id": 7}]`, name the entities whose latest online
        values are read; `predictions` tells of which there are none.

        Raises:
            NothingToDoError: there is no champion.
            SourceError: a text is empty.
            UserError: there are not as many metadata as texts.
            SpaceMismatchError: the champion reads vectors of another space than the settings name.
            FeatureViewError: the champion needs feature views that the code no longer has.
            StoreError: a store does not answer, or the model cannot be loaded.
        """
        return [each.probabilities for each in self.predictions(texts, metadata)]

    def predictions(
        self, texts: Sequence[str], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> list[Prediction]:
        """Return what `predict` does, with the features it was told from, and what was not known.

        Raises:
            UserError: as `predict`.
        """
        return self.served_predictions(texts, metadata).predictions

    def served_predictions(
        self, texts: Sequence[str], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> ServedPredictions:
        """Return what `predictions` does, with the release and the version that answered.

        Raises:
            UserError: as `predict`.
        """
        from ml_assets.embeddings.encoder import load_encoder
        from ml_assets.embeddings.space import current_chunker, current_space
        from ml_assets.registry.serving import inputs_of, predict_texts
        from ml_assets.search.indexes.kinds import Indexes
        from ml_assets.stores import mlflow

        settings, chunker = self.settings, current_chunker(self.settings)
        url = secret(settings.reading_url)
        with self._answering():
            return predict_texts(
                self._connection,
                mlflow.tracking(secret(settings.mlflow_tracking_uri), url, settings.home),
                Indexes(settings),
                current_space(settings).space_id,
                lambda: load_encoder(settings),
                lambda text: [chunk.text for chunk in chunker.chunk("", text)],
                inputs_of(texts, metadata, self._read_online),
                self._cache,
                settings.prediction_cache_seconds,
            )

    def features(self, view: str, entity: str) -> dict[str, Value]:
        """Return the latest online values of an entity: a document's id, a collection, or a key.

        Raises:
            FeatureViewError: there is no such view.
            NothingToDoError: the online store has no values of the entity.
            StoreError: the online store cannot be used.
        """
        from ml_assets.features.definition import unknown_entity
        from ml_assets.features.views import find_view

        asked = find_view(view)
        with self._answering():
            reading = self._read_online(asked.key, [entity])
        if entity in reading.values:
            return dict(reading.values[entity])
        if entity in reading.expired:
            raise NothingToDoError(
                f"the values of {view} of {entity!r} held till"
                f" {reading.expired[entity]:%Y-%m-%d %H:%M:%S} UTC",
                do="Run `ml-assets run`, once its source has newer ones",
            )
        raise unknown_entity(asked, entity)

    def features_of(
        self, text: str, title: str = "", metadata: Mapping[str, Any] | None = None
    ) -> dict[str, Value]:
        """Return the features of a text that is in no store, under `view__feature`.

        What follows from the text is computed, by the code that computes it of documents; of its
        collection and of the entities that its metadata name, as in `{"author_id": 7}`, the latest
        online values are read. What is not known is None, as is the distance to other documents.

        Raises:
            SourceError: the text is empty.
            FeatureViewError: a function of the user's own fails.
            StoreError: the online store cannot be used.
        """
        from ml_assets.features.requests import features_of_text

        with self._answering():
            return features_of_text(text, title, metadata or {}, self._read_online)

    def document(self, document_id: str) -> Document:
        """Return a live document.

        Raises:
            NothingToDoError: there is none of this id.
            StoreError: PostgreSQL does not answer.
        """
        from ml_assets.documents.history import read_document

        with self._answering():
            return read_document(self._connection, document_id)

    def release(self) -> Release | None:
        """What is served together, since when and why; None before the first.

        Raises:
            StoreError: PostgreSQL does not answer.
        """
        from ml_assets.releases.pointer import present_release

        with self._answering():
            return present_release(self._connection)

    def cache_statistics(self) -> dict[str, CacheStatistics]:
        """Hits and misses of the caches so far: of `query_embeddings` and of `predictions`."""
        return self._cache.statistics()

    def _read_online(self, view: str, entities: Sequence[str]) -> Reading:
        with self._online.reading() as store:
            return store.get_many(view, entities)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Close the stores at an error that is not about the question, so that it is told now."""
        try:
            yield
        except Exception as error:
            if isinstance(error, StoreError) or not isinstance(error, UserError):
                self._close(type(error), error, error.__traceback__)
            raise

    def _close(self, *error: Any) -> None:
        stores, self._stores, self._indexes = self._stores, ExitStack(), ExitStack()
        self._engine = None
        vars(self).pop("_connection", None)
        for opened in ("_cache", "_online"):
            if opened in vars(self):
                getattr(self, opened).close()
        # The stores turn their own errors into lines for people, so they have to see them.
        stores.__exit__(*error)

    @cached_property
    def _connection(self) -> postgres.Connection:
        postgres.refuse_absent(secret(self.settings.reading_url), self.settings.home)
        connection = self._stores.enter_context(postgres.connect_reader(self.settings))
        self._stores.push(self._indexes)  # closed before it
        return connection

    @cached_property
    def _online(self) -> Kept:
        from ml_assets.stores import online

        return online.keep(secret(self.settings.online_url), self.settings.home)

    @cached_property
    def _cache(self) -> ReadThrough:
        from ml_assets.stores import cache

        url, home = secret(self.settings.cache_url), self.settings.home
        return cache.ReadThrough(lambda: cache.connect(url, home))

    def _opened_engine(self, query: str, method: Method) -> tuple[Engine, CachingEncoder | None]:
        """What answers; at the first query the encoder is got ready beside the stores."""
        if method == "keyword":
            return self._published_engine(), None
        if self._engine:
            return self._published_engine(), self._encoder_for(query)
        # Both threads want numpy, and Python may import a part of a package that another thread
        # has imported by half.
        import numpy  # noqa: F401

        with ThreadPoolExecutor(max_workers=1) as beside:
            encoder = beside.submit(self._encoder_for, query, first=True)
            return self._published_engine(), encoder.result()

    def _encoder_for(self, query: str, *, first: bool = False) -> CachingEncoder:
        """What makes a vector of the query: it is cached, or a model is loaded for it."""
        from ml_assets.embeddings.caching import CachingEncoder
        from ml_assets.embeddings.encoder import load_encoder, preload, runtime_of
        from ml_assets.embeddings.space import current_space

        settings = self.settings
        encoder = CachingEncoder(
            current_space(settings),
            lambda: load_encoder(settings),
            self._cache,
            settings.query_cache_seconds,
            runtime_of(settings),
        )
        if not encoder.knows(query) and first:
            preload(settings)
        return encoder

    def _published_engine(self) -> Engine:
        connection = self._connection  # before the imports, which take as long as its server

        from ml_assets.search.answering.engine import open_engine
        from ml_assets.search.generation import published_generation
        from ml_assets.search.indexes.kinds import Indexes, index_marks

        published = published_generation(connection)
        marks = index_marks(connection, published) if published else {}
        engine = self._engine
        if (
            engine is None
            or engine.behind
            or (engine.generation, self._marks) != (published, marks)
        ):
            self._engine, self._marks = None, marks
            self._indexes.close()
            engine = self._engine = self._indexes.enter_context(
                open_engine(connection, Indexes(self.settings), published)
            )
        return engine


@overload
def open_session(settings: Settings | Path | str | None = None) -> Session: ...
@overload
def open_session(*, url: str, key: str | None = None) -> Client: ...


def open_session(
    settings: Settings | Path | str | None = None, *, url: str = "", key: str | None = None
) -> Session | Client:
    """Open a deployment: by its settings, its home, the URL of its PostgreSQL, or the environment.

    With `url`, the service there is asked instead, with a `key`, or that of the environment.

    Raises:
        SettingError: a setting cannot be used.
    """
    if url:
        from ml_assets.service.client import Client

        return Client(url, key or secret(load_settings().service_key))
    if isinstance(settings, Settings):
        return Session(settings)
    if settings is None:
        return Session(load_settings())
    if "://" in str(settings):
        return Session(load_settings(postgres_url=settings))
    return Session(load_settings(home=settings))
