"""What is asked and answered over HTTP: the types of the requests, of the answers, of refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from starlette.types import Scope

from ml_assets.answers.answering import MOST_PASSAGES
from ml_assets.answers.model import Kind, Passage, Sentence
from ml_assets.documents.model import Document
from ml_assets.monitoring.truth import LONGEST_LABEL, REQUEST_ID
from ml_assets.search.answering.model import MAX_K, Hit, Method
from ml_assets.service.following.deployments import Deployment

RETRY_SECONDS = 1
"""What Retry-After says where there is too much to do, or a store does not answer."""
AGAIN = "Try again; Retry-After says when"
LESS = "Send less at a time, or set ML_ASSETS_SERVICE_BODY"
"""The next steps after refusals that come from several places."""

MOST_TEXTS = 256
"""Texts of one request."""
MOST_CHARACTERS = 100_000
"""Characters of a text; what a model does not read of it is cut anyway."""

Query = Annotated[str, Field(min_length=1, max_length=2_000)]
Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
Value = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Metadata = Mapping[Annotated[str, Field(max_length=500)], Value | int | float | bool]
Words = Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=64)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Answer(BaseModel):
    release: int | None = Field(description="the release that answered; null before the first")


class Refusal(BaseModel):
    """Why there is no answer, and what to do."""

    code: str = Field(examples=["not_found"])
    message: str = Field(examples=["there is no document 'absent'"])
    do: str = Field("", examples=["Ids are those of the source"])
    request_id: str = Field("", description="in the log of the service, too")


class Problem(BaseModel):
    """A refusal, as it is sent."""

    error: Refusal


AsPage = Callable[[Scope, int, Refusal], Response | None]
"""Makes a page of a refusal with its status; None: who asks is a program, and gets a `Problem`."""


class Filters(_Asked):
    """What the documents of an answer have in common; all of it has to hold."""

    collection: Words = Field([], description="one of these collections")
    label: Words = Field([], description="one of these labels")
    since: str | None = Field(None, description="created at or after this date")
    until: str | None = Field(None, description="created before this date")
    where: Words = Field([], description="key=value of the metadata")
    filter: str | None = Field(
        None,
        max_length=10_000,
        description="a condition on collection, label, created_at, metadata.<key>",
    )


class SearchRequest(Filters):
    """A search of the published generation."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"query": "parse command line arguments", "k": 3, "where": ["kind=class"]}]
        },
    )
    query: Query = Field(description="what to look for, in plain words")
    k: int = Field(10, ge=1, le=MAX_K, description="documents of a page")
    offset: int = Field(0, ge=0, lt=MAX_K, description="documents of the pages before")
    method: Method = "hybrid"
    min_relevance: float = Field(0.0, ge=0, le=1, description="only what is so relevant")


class SimilarRequest(Filters):
    """A search by a document."""

    k: int = Field(10, ge=1, le=MAX_K, description="documents")


class SearchAnswer(_Answer):
    """Documents, best first, each shown by its best chunk, with its rank and score by method."""

    generation_id: str
    method: Method
    filters: str = Field(description="the condition that was asked for, as one text")
    complete: bool = Field(description="there are k of them, or all that match")
    behind: int = Field(description="documents that wait to be indexed")
    hits: Sequence[Hit]
    next: int | None = Field(description="the offset of the next page; null on the last one")


class QuestionRequest(Filters):
    """A question to be answered from the documents."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"question": "How do I parse command line arguments?"}]},
    )
    question: Query
    k: int = Field(5, ge=1, le=MOST_PASSAGES, description="passages, each of another document")
    extractive: bool = Field(False, description="parts of the passages, without a language model")
    stream: bool = Field(
        False, description="as server-sent events: sentence, sentence, …, answer; or error"
    )


class QuestionAnswer(_Answer):
    """An answer, and the passages it rests on."""

    question: str
    kind: Kind = Field(description="written by a model, taken from the passages, or none")
    text: str = Field(description="the sentences with their citations, as [1]")
    sentences: Sequence[Sentence]
    passages: Sequence[Passage]
    notice: str = Field(description="what kind of answer it is, and why")
    generation_id: str
    model: str
    complete: bool = Field(description="it was written to its end")
    prompt_tokens: int | None
    answer_tokens: int | None


class DocumentAnswer(_Answer):
    """A live document, and why it is as it is."""

    document: Document
    history: Sequence[Change]


class Change(BaseModel):
    """An entry of the change log."""

    changed_at: datetime
    stage: str
    action: str
    reason: str
    collection: str
    run_id: str | None


class NewDocument(_Asked):
    """A document to be added, or put in the place of the one that was pushed under its id."""

    id: str = Field(min_length=1, max_length=200)
    text: str = Field(min_length=1)
    collection: str = Field("pushed", min_length=1, max_length=200)
    title: str = ""
    label: str | None = None
    url: str | None = None
    group: str = ""
    created_at: datetime | None = None
    metadata: Metadata = Field(default_factory=dict)


class PushRequest(_Asked):
    """Documents to be added, all or none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "documents": [
                        {"id": "note-1", "text": "About bread.", "metadata": {"year": 2026}}
                    ]
                }
            ]
        },
    )
    documents: list[NewDocument] = Field(min_length=1, max_length=MOST_TEXTS)


class Accepted(BaseModel):
    """They are kept, and will be read by a run."""

    ticket: UUID
    documents: int


class TicketState(BaseModel):
    """What became of a document of a ticket."""

    document_id: str
    state: Literal["queued", "rejected", "indexing", "searchable", "replaced", "withdrawn"]
    reason: str | None = None


class TicketAnswer(_Answer):
    """What became of the documents of a ticket."""

    ticket: UUID
    searchable: bool = Field(description="all that were not replaced or withdrawn are")
    documents: Sequence[TicketState]


class PredictRequest(_Asked):
    """Texts to label; a title, if there is one, is the first line."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"texts": ["Return the absolute value of a number."]}]},
    )
    texts: list[Text] = Field(min_length=1, max_length=MOST_TEXTS)
    metadata: list[Metadata] | None = Field(
        None, description="of each text: they name its author, say, whose features are read"
    )


class Predicted(BaseModel):
    """What the champion says of one text."""

    label: str
    probability: float
    probabilities: Mapping[str, float] = Field(description="of every label, likeliest first")
    features: Mapping[str, float | None]
    unknown: Mapping[str, str] = Field(
        description="why features are null, by view: no author was given, or nothing is known of it"
    )


class PredictAnswer(_Answer):
    """What the champion says, in the order of the texts."""

    model: str = Field(examples=["document_classifier/3"])
    predictions: Sequence[Predicted]


class FeedbackRequest(_Asked):
    """What was true of a prediction: its label, or whether the answer was right."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"request_id": "a1b2", "label": "kitchen"}]}
    )
    request_id: str = Field(
        pattern=f"^{REQUEST_ID}$", description="of the prediction: X-Request-ID of its answer"
    )
    position: int = Field(0, ge=0, lt=MOST_TEXTS, description="of the text in its request")
    label: str | None = Field(None, min_length=1, max_length=LONGEST_LABEL)
    correct: bool | None = Field(None, description="in place of a label: thumbs up, or down")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.label is None) == (self.correct is None):
            raise ValueError("give either label or correct")
        return self


class Kept(BaseModel):
    """It is on the disk, and is loaded within minutes."""

    request_id: str
    position: int


class FeaturesAnswer(BaseModel):
    """The latest values of an entity in the online store."""

    view: str = Field(examples=["document_text"])
    key: str = Field(description="the view with its version", examples=["document_text_v2"])
    entity: str
    values: Mapping[str, int | float | bool | str | None]


class TextFeaturesRequest(_Asked):
    """A text that is in no store, with what is known beside it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text": "About bread.", "title": "Note"}]}
    )
    text: Text
    title: str = Field("", max_length=2_000)
    metadata: Metadata = Field(default_factory=dict)


class TextFeaturesAnswer(BaseModel):
    """Features by `view__feature`; null where they are not known."""

    values: Mapping[str, int | float | bool | str | None]


class EmbedRequest(_Asked):
    """Texts to encode."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"texts": ["baking bread"]}]}
    )
    texts: list[Text] = Field(min_length=1, max_length=MOST_TEXTS)
    kind: Literal["query", "document"] = "query"


class EmbedAnswer(BaseModel):
    """Vectors of unit norm, in the order of the texts, and the space that they are of."""

    space_id: str
    model: str
    dimension: int
    vectors: Sequence[Sequence[float]]


def _no_tokens(given: Any) -> Any:
    first = given[0] if isinstance(given, list) and given else None
    if isinstance(first, int | list):
        raise ValueError(
            "tokens are those of another model: send texts"
            " (OpenAIEmbeddings of LangChain does with check_embedding_ctx_length=False)"
        )
    return given


class EmbeddingsRequest(BaseModel):
    """As OpenAI's clients ask; the texts count as documents."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"input": "baking bread", "model": "any"}]}
    )
    input: Annotated[
        Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS)],
        BeforeValidator(_no_tokens),
    ]
    model: str = Field("", max_length=500, description="not looked at: there is one model")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, description="must be that of the space")
    user: str | None = Field(None, max_length=500)


class Embedding(BaseModel):
    """One vector, as numbers or as the base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Sequence[float] | str


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """As OpenAI answers, with the vector space beside."""

    object: Literal["list"] = "list"
    data: Sequence[Embedding]
    model: str
    usage: Usage
    space_id: str


class ReleaseAnswer(_Answer):
    """What is served together, since when and why, and by which processes."""

    served_from: datetime | None = None
    actor: str = ""
    action: str = ""
    reason: str = ""
    parts: Mapping[str, Any] = Field(default_factory=dict)
    version: str = Field(description="of ml_assets")
    deployments: Sequence[Deployment]


class Health(BaseModel):
    """Whether the process is alive; one that failed follows no release any more."""

    status: Literal["alive", "failed"] = "alive"


class Store(BaseModel):
    """Whether a store answers; the reason is for holders of a key."""

    ok: bool
    reason: str = ""


class Readiness(BaseModel):
    """Whether it answers what it is there for."""

    ready: bool
    release: int | None
    stores: Mapping[str, Store]
    warnings: Sequence[str] = Field([], description="what does not keep it from answering")


DocumentAnswer.model_rebuild()
