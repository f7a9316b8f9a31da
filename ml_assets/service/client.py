"""A service over HTTP, asked from Python with the methods of an embedded session."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

    from ml_assets.answers.model import Answer, Sentence
    from ml_assets.documents.model import Document
    from ml_assets.registry.serving import Prediction
    from ml_assets.releases.pointer import Release
    from ml_assets.search.answering.model import Method, SearchResult

Value: TypeAlias = int | float | bool | str | None

_ATTEMPTS = 3
_LONGEST_WAIT = 5
_ANSWER_SECONDS = 3700
"""A language model takes its time, which the service bounds."""

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
            SettingError: it is not a URL, or the key is none.
        """
        import httpx

        key = (key or "").strip()
        if not (key.isascii() and key.isprintable()):
            do = "Write it as `ml-assets keys create` showed it"
            raise SettingError("it is not a key of a service", where="key", do=do)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.url, self._seconds = url.rstrip("/"), seconds
        try:
            if not url.startswith(("http://", "https://")):
                raise httpx.InvalidURL(url)
            self._http = httpx.Client(base_url=f"{self.url}/v1", headers=headers, timeout=seconds)
        except httpx.InvalidURL:
            raise SettingError(
                "it is not a URL of a service", where="url", do="Write http://127.0.0.1:8080"
            ) from None

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
        return _result(self._get(f"/similar/{_segments(document_id)}", asked))

    def answer(
        self,
        question: str,
        *,
        k: int = 5,
        filters: Condition | str = NO_FILTER,
        extractive: bool = False,
        on_sentence: Callable[[Sentence], None] | None = None,
    ) -> Answer:
        """Answer a question from the `k` best documents; see `Session.answer`.

        Raises:
            UserError: the question, `k` or the filter cannot be used.
            OutageError: the service, a store or the language model of it does not answer.
        """
        from pydantic import TypeAdapter

        from ml_assets.answers.model import Answer, Sentence

        asked = {"question": question, "k": k, "extractive": extractive}
        asked["filter"] = _written(filters)
        if on_sentence is None:
            answer = self._ask("POST", "/answer", json=asked, extensions=self._patient())
            return TypeAdapter(Answer).validate_python(_fields(answer))
        for event, data in self._events("/answer", {**asked, "stream": True}):
            if event == "answer":
                return TypeAdapter(Answer).validate_python(_fields(data))
            on_sentence(TypeAdapter(Sentence).validate_python(data))
        raise OutageError("the answer broke off", where=self.url, do="Ask again")

    def predict(
        self,
        texts: Sequence[str],
        metadata: Sequence[Mapping[str, Any]] | None = None,
        *,
        request_id: str | None = None,
    ) -> list[dict[str, float]]:
        """Return the champion's probabilities of every label, likeliest first, for each text.

        `metadata` of each text name its author, say; see `Session.predict`. A `request_id` of your
        own is what `feedback` can name later.

        Raises:
            SourceError: a text is empty.
            UserError: there are not as many metadata as texts.
            OutageError: the service, or a store of it, does not answer, or no model is served.
        """
        given = self.predictions(texts, metadata, request_id=request_id)
        return [each.probabilities for each in given]

    def predictions(
        self,
        texts: Sequence[str],
        metadata: Sequence[Mapping[str, Any]] | None = None,
        *,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """Return what `predict` does, with the features it was told from, and what was not known.

        Raises:
            UserError: as `predict`.
        """
        from ml_assets.registry.serving import Prediction

        if not texts:
            return []
        own = None if metadata is None else [dict(each) for each in metadata]
        headers = {"X-Request-ID": request_id} if request_id else {}
        asked = {"texts": list(texts), "metadata": own}
        answer = self._ask("POST", "/predict", json=asked, headers=headers)
        return [
            Prediction(each["probabilities"], each["features"], each["unknown"])
            for each in answer["predictions"]
        ]

    def feedback(
        self,
        request_id: str,
        label: str | None = None,
        *,
        correct: bool | None = None,
        position: int = 0,
    ) -> None:
        """Tell what was true of a prediction: its label, or whether it was correct.

        `position` is that of the text in its request. The last word counts.

        Raises:
            UserError: both are given, or none, or the request has no such name.
            OutageError: the service does not answer, or cannot keep it.
        """
        told = {"request_id": request_id, "position": position, "label": label, "correct": correct}
        self._post("/feedback", told, attempts=1)

    def features(self, view: str, entity: str) -> dict[str, Value]:
        """Return the latest online values of an entity: a document's id, or a collection's name.

        Raises:
            FeatureViewError: there is no such view.
            NothingToDoError: the online store has no values of the entity.
            OutageError: the service, or its online store, does not answer.
        """
        path = f"/features/{_segments(view)}/{_segments(entity)}"
        values: dict[str, Value] = self._get(path)["values"]
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

        answer = self._get(f"/documents/{_segments(document_id)}")
        return TypeAdapter(Document).validate_python(answer["document"])

    def release(self) -> Release | None:
        """What is served together, since when and why; None before the first.

        Raises:
            OutageError: the service, or its PostgreSQL, does not answer.
        """
        from pydantic import TypeAdapter

        from ml_assets.releases.pointer import Release

        answer = self._get("/release")
        if answer["release"] is None:
            return None
        fields = {
            name: answer[name] for name in ("parts", "served_from", "actor", "action", "reason")
        }
        fields |= {"release_id": answer["release"], "served_until": None}
        return TypeAdapter(Release).validate_python(fields)

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
        answer = self._get(f"/tickets/{_segments(ticket)}")
        return {each["document_id"]: each["state"] for each in answer["documents"]}

    def _get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        return self._ask("GET", path, params=given)

    def _post(self, path: str, body: Mapping[str, Any], attempts: int = _ATTEMPTS) -> Any:
        return self._ask("POST", path, attempts, json=body)

    def _ask(self, method: str, path: str, attempts: int = _ATTEMPTS, **given: Any) -> Any:
        """The answer; what only reads is asked again when the service says that it may help."""
        for attempt in range(1, attempts + 1):
            with self._reached():
                response = self._http.request(method, path, **given)
            if response.is_success:
                return _content(response)
            after = response.headers.get("retry-after", "")
            if attempt == attempts or not after.isdecimal() or int(after) > _LONGEST_WAIT:
                raise _refusal(response)
            time.sleep(int(after))
        raise AssertionError("there is at least one attempt")

    def _events(self, path: str, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """The events of an answer that is sent in parts, as they come: their names and values."""
        with (
            self._reached(),
            self._http.stream("POST", path, json=body, extensions=self._patient()) as response,
        ):
            if not response.is_success:
                response.read()
                raise _refusal(response)
            event = ""
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data" and event == "error":
                    raise _told_error(json.loads(value))
                elif name == "data":
                    yield event, json.loads(value)

    def _patient(self) -> dict[str, Any]:
        """Have a request wait for as long as a language model may take."""
        limits = dict.fromkeys(("connect", "write", "pool"), self._seconds)
        return {"timeout": {**limits, "read": _ANSWER_SECONDS}}

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """What is not reached within the block is told in a line."""
        import httpx

        try:
            yield
        except httpx.TransportError as error:
            what = f"the service does not answer ({first_line(error)})"
            raise OutageError(what, where=self.url, do="Check that it runs") from None


def _segments(name: str) -> str:
    """A name as a part of a path; dots alone would lead to another one."""
    parts = quote(name).split("/")
    return "/".join(part.replace(".", "%2E") if set(part) == {"."} else part for part in parts)


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


def _fields(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer to a question is made of: its text and its release are told beside."""
    return {name: value for name, value in answer.items() if name not in ("release", "text")}


def _content(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise OutageError("it answers no JSON", where="service", do="Check the URL") from None


def _refusal(response: httpx.Response) -> UserError:
    """The error that the service told, or that what stands before it is none."""
    try:
        return _told_error(response.json())
    except (ValueError, KeyError, TypeError):
        what = f"it answers {response.status_code}"
        return OutageError(what, where="service", do="Check the URL")


def _told_error(problem: Mapping[str, Any]) -> UserError:
    told = problem["error"]
    code, what, do = str(told["code"]), str(told["message"]), str(told["do"])
    kind = _ERRORS.get(code, UserError)
    return kind(what, where="service" if kind is OutageError else "", do=do)
