"""A service over HTTP, asked from Python with the methods of an embedded session."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote

from ml_assets.errors import (
    FeatureViewError,
    NothingToDoError,
    OutageError,
    SettingError,
    SourceError,
    UserError,
    first_line,
)
from ml_assets.search.filters.language import NO_FILTER, Condition
from ml_assets.search.filters.parse import format_condition, parse_condition

if TYPE_CHECKING:
    import httpx

    from ml_assets.documents.model import Document
    from ml_assets.registry.serving import Prediction
    from ml_assets.search.answering.model import Method, SearchResult

Value: TypeAlias = int | float | bool | str | None

_ATTEMPTS = 3
_LONGEST_WAIT = 5

_ERRORS: Mapping[str, type[UserError]] = {
    **dict.fromkeys(("not_found", "nothing_published"), NothingToDoError),
    "feature_view": FeatureViewError,
    "source": SourceError,
    "unauthorized": SettingError,
    **dict.fromkeys(("unavailable", "busy", "late", "not_ready", "rate"), OutageError),
}
"""What a session would raise, by the code of a refusal."""


class Client:
    """The service at a URL; a context manager, for any number of threads."""

    def __init__(self, url: str, key: str | None = None, seconds: float = 30) -> None:
        """Ask nothing yet; an answer is waited for at most so many `seconds`.

        Raises:
            SettingError: it is not a URL.
        """
        import httpx

        if not url.startswith(("http://", "https://")):
            raise SettingError(
                "it is not a URL of a service", where="url", do="Write http://127.0.0.1:8080"
            )
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=f"{self.url}/v1", headers=headers, timeout=seconds)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        method: Method = "hybrid",
        filters: Condition | str = NO_FILTER,
        min_relevance: float = 0.0,
    ) -> SearchResult:
        """Find the `k` best documents in the published generation; see `Session.search`.

        Raises:
            UserError: the query, `k`, the method or the filter cannot be used.
            OutageError: the service, or a store of it, does not answer.
        """
        asked = {"query": query, "k": k, "method": method, "min_relevance": min_relevance}
        return _result(self._post("/search", {**asked, "filter": _written(filters)}))

    def similar(
        self, document_id: str, *, k: int = 10, filters: Condition | str = NO_FILTER
    ) -> SearchResult:
        """Find the `k` documents that are nearest to one; see `Session.similar`.

        Raises:
            NothingToDoError: there is no such document.
            OutageError: the service, or a store of it, does not answer.
        """
        asked = {"k": k, "filter": _written(filters)}
        return _result(self._get(f"/similar/{quote(document_id)}", asked))

    def predict(
        self, texts: Sequence[str], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> list[dict[str, float]]:
        """Return the champion's probabilities of every label, likeliest first, for each text.

        `metadata` of each text name its author, say; see `Session.predict`.

        Raises:
            SourceError: a text is empty.
            UserError: there are not as many metadata as texts.
            OutageError: the service, or a store of it, does not answer, or no model is served.
        """
        return [each.probabilities for each in self.predictions(texts, metadata)]

    def predictions(
        self, texts: Sequence[str], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> list[Prediction]:
        """Return what `predict` does, with the features it was told from, and what was not known.

        Raises:
            UserError: as `predict`.
        """
        from ml_assets.registry.serving import Prediction

        if not texts:
            return []
        own = None if metadata is None else [dict(each) for each in metadata]
        answer = self._post("/predict", {"texts": list(texts), "metadata": own})
        return [
            Prediction(each["probabilities"], each["features"], each["unknown"])
            for each in answer["predictions"]
        ]

    def features(self, view: str, entity: str) -> dict[str, Value]:
        """Return the latest online values of an entity: a document's id, or a collection's name.

        Raises:
            FeatureViewError: there is no such view.
            NothingToDoError: the online store has no values of the entity.
            OutageError: the service, or its online store, does not answer.
        """
        values: dict[str, Value] = self._get(f"/features/{quote(view)}/{quote(entity)}")["values"]
        return values

    def features_of(
        self, text: str, title: str = "", metadata: Mapping[str, Any] | None = None
    ) -> dict[str, Value]:
        """Return the features of a text that is in no store; see `Session.features_of`.

        Raises:
            SourceError: the text is empty.
            FeatureViewError: a function of the user's own fails.
            OutageError: the service, or its online store, does not answer.
        """
        asked = {"text": text, "title": title, "metadata": dict(metadata or {})}
        values: dict[str, Value] = self._post("/features", asked)["values"]
        return values

    def document(self, document_id: str) -> Document:
        """Return a live document.

        Raises:
            NothingToDoError: there is none of this id.
            OutageError: the service, or its PostgreSQL, does not answer.
        """
        from pydantic import TypeAdapter

        from ml_assets.documents.model import Document

        answer = self._get(f"/documents/{quote(document_id)}")
        return TypeAdapter(Document).validate_python(answer["document"])

    def embed(
        self, texts: Sequence[str], kind: Literal["query", "document"] = "query"
    ) -> tuple[str, list[list[float]]]:
        """Return the id of the vector space, and a vector of unit norm for each text.

        Raises:
            OutageError: the service does not answer.
        """
        answer = self._post("/embed", {"texts": list(texts), "kind": kind})
        return answer["space_id"], answer["vectors"]

    def push(self, documents: Sequence[Mapping[str, Any]]) -> str:
        """Have documents added, all or none: `id`, `text` and what else there is; the ticket.

        Raises:
            SourceError: one cannot be a document.
            OutageError: the service, or its PostgreSQL, does not answer.
        """
        rows = [dict(document) for document in documents]
        return str(self._post("/documents", {"documents": rows}, attempts=1)["ticket"])

    def ticket(self, ticket: str) -> dict[str, str]:
        """What became of the documents of a ticket, by id.

        Raises:
            NothingToDoError: there is no such ticket.
            OutageError: the service, or its PostgreSQL, does not answer.
        """
        answer = self._get(f"/tickets/{quote(ticket)}")
        return {each["document_id"]: each["state"] for each in answer["documents"]}

    def _get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        return self._ask("GET", path, params=given)

    def _post(self, path: str, body: Mapping[str, Any], attempts: int = _ATTEMPTS) -> Any:
        return self._ask("POST", path, attempts, json=body)

    def _ask(self, method: str, path: str, attempts: int = _ATTEMPTS, **given: Any) -> Any:
        """The answer; what only reads is asked again when the service says that it may help."""
        import httpx

        for attempt in range(1, attempts + 1):
            try:
                response = self._http.request(method, path, **given)
            except httpx.TransportError as error:
                what = f"the service does not answer ({first_line(error)})"
                raise OutageError(what, where=self.url, do="Check that it runs") from None
            if response.is_success:
                return response.json()
            after = response.headers.get("retry-after", "")
            if attempt == attempts or not after.isdecimal() or int(after) > _LONGEST_WAIT:
                raise _refusal(response)
            time.sleep(int(after))
        raise AssertionError("there is at least one attempt")


def _written(filters: Condition | str) -> str | None:
    text = filters if isinstance(filters, str) else format_condition(filters)
    return text or None


def _result(answer: Mapping[str, Any]) -> SearchResult:
    from pydantic import TypeAdapter

    from ml_assets.search.answering.model import Hit, SearchResult

    written = answer["filters"]
    return SearchResult(
        hits=TypeAdapter(tuple[Hit, ...]).validate_python(answer["hits"]),
        complete=answer["complete"],
        generation_id=answer["generation_id"],
        method=answer["method"],
        filters=parse_condition(written) if written else NO_FILTER,
        behind=answer["behind"],
    )


def _refusal(response: httpx.Response) -> UserError:
    """The error that the service told, or that what stands before it is none."""
    try:
        told = response.json()["error"]
        code, what, do = str(told["code"]), str(told["message"]), str(told["do"])
    except (ValueError, KeyError, TypeError):
        code, what, do = "unavailable", f"it answers {response.status_code}", "Check the URL"
    kind = _ERRORS.get(code, UserError)
    return kind(what, where="service" if kind is OutageError else "", do=do)
