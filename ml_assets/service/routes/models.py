"""Predictions of the champion, features, and vectors."""

from __future__ import annotations

import asyncio
import base64
import time

from fastapi import APIRouter, Request

from ml_assets.embeddings.space import load_tokenizer
from ml_assets.errors import FeatureViewError, NothingToDoError, UserError
from ml_assets.features.definition import unknown_entity
from ml_assets.features.requests import features_of_text
from ml_assets.features.views import VIEWS
from ml_assets.registry.serving import Prediction, inputs_of, predict_with
from ml_assets.service.access import Reader
from ml_assets.service.answering import Pinned, TheService
from ml_assets.service.following.opened import Lane
from ml_assets.service.refusals import nothing_published
from ml_assets.service.routes import PREFIX
from ml_assets.service.schemas import (
    EmbedAnswer,
    Embedding,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    EmbedRequest,
    FeaturesAnswer,
    PredictAnswer,
    Predicted,
    PredictRequest,
    TextFeaturesAnswer,
    TextFeaturesRequest,
    Usage,
)

router = APIRouter(prefix=PREFIX, tags=["models"])


@router.post("/predict")
async def predict(
    request: Request, asked: PredictRequest, _: Reader, opened: Pinned, service: TheService
) -> PredictAnswer:
    """Label texts with the champion of the release, each with probabilities and its features."""
    service.note_texts(request, asked.texts)
    model = opened.model
    if model is None:
        raise nothing_published("model")
    if isinstance(model, UserError):
        raise model

    started = time.perf_counter()
    inputs = await service.in_thread(
        lambda: inputs_of(asked.texts, asked.metadata, service.read_online)
    )

    def answer(lane: Lane) -> list[Prediction]:
        return predict_with(
            lane.connection,
            opened.indexes,
            model,
            lambda: service.encoder,
            lambda text: [chunk.text for chunk in service.chunker.chunk("", text)],
            inputs,
            service.cache,
            service.settings.prediction_cache_seconds,
        )

    predictions = await service.on_lane(opened, answer)
    service.recorder.predicted(
        request.state.request_id,
        opened.served.release_id,
        model.version,
        asked.texts,
        predictions,
        time.perf_counter() - started,
    )
    return PredictAnswer(
        release=opened.served.release_id,
        model=model.version.subject,
        predictions=[
            Predicted(
                label=label,
                probability=probability,
                probabilities=each.probabilities,
                features=each.features,
                unknown=each.unknown,
            )
            for each in predictions
            for label, probability in [next(iter(each.probabilities.items()))]
        ],
    )


@router.get("/features/{view}/{entity:path}")
async def features(view: str, entity: str, _: Reader, service: TheService) -> FeaturesAnswer:
    """The latest online values of an entity: a document's id, or a collection's name."""
    if view not in VIEWS:
        raise FeatureViewError(f"there is no view {view!r}", do=f"Known: {', '.join(VIEWS)}")
    key = VIEWS[view].key
    reading = await service.in_thread(lambda: service.read_online(key, [entity]))
    if entity in reading.expired:
        till = f"{reading.expired[entity]:%Y-%m-%d %H:%M:%S} UTC"
        raise NothingToDoError(
            f"the values of {view} of {entity!r} held till {till}", do="Run `ml-assets run`"
        )
    if entity not in reading.values:
        raise unknown_entity(VIEWS[view], entity)
    return FeaturesAnswer(view=view, key=key, entity=entity, values=reading.values[entity])


@router.post("/features")
async def text_features(
    request: Request, asked: TextFeaturesRequest, _: Reader, service: TheService
) -> TextFeaturesAnswer:
    """Features of a text that is in no store: computed, or read of what its metadata name."""
    service.note_texts(request, [asked.text])
    values = await service.in_thread(
        lambda: features_of_text(asked.text, asked.title, asked.metadata, service.read_online)
    )
    return TextFeaturesAnswer(values=values)


@router.post("/embed")
async def embed(asked: EmbedRequest, _: Reader, service: TheService) -> EmbedAnswer:
    """Encode texts, as queries or as documents, in the vector space of the settings."""
    encoding = service.encoder.submit(asked.texts, queries=asked.kind == "query")
    vectors = await asyncio.wrap_future(encoding)
    space = service.space
    return EmbedAnswer(
        space_id=space.space_id,
        model=space.model,
        dimension=space.dimension,
        vectors=vectors.tolist(),
    )


@router.post("/embeddings")
async def embeddings(asked: EmbeddingsRequest, _: Reader, service: TheService) -> EmbeddingsAnswer:
    """Encode texts as documents, asked and answered as OpenAI's clients do."""
    space = service.space
    if asked.dimensions not in (None, space.dimension):
        raise UserError(
            f"the space has {space.dimension} dimensions", do="Ask for these, or leave it out"
        )
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    vectors = await asyncio.wrap_future(service.encoder.submit(texts))
    tokenizer = load_tokenizer(service.tokenizer_file)
    tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
    whole = asked.encoding_format == "float"
    return EmbeddingsAnswer(
        data=[
            Embedding(
                index=index,
                embedding=row.tolist()
                if whole
                else base64.b64encode(row.astype("<f4").tobytes()).decode(),
            )
            for index, row in enumerate(vectors)
        ],
        model=space.model,
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        space_id=space.space_id,
    )
