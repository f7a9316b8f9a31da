"""What was true of a prediction."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter

from ml_assets.monitoring.predictions import Told
from ml_assets.service.access import Teller
from ml_assets.service.answering import TheService
from ml_assets.service.routes import PREFIX
from ml_assets.service.schemas import FeedbackRequest, Kept

router = APIRouter(prefix=PREFIX, tags=["models"])


@router.post("/feedback", status_code=202)
async def feedback(asked: FeedbackRequest, caller: Teller, service: TheService) -> Kept:
    """Tell what was true of a prediction; the last word counts."""
    told = Told(
        datetime.now(UTC),
        asked.request_id,
        asked.position,
        asked.label or "",
        asked.correct,
        caller.identity,
    )
    await asyncio.wrap_future(service.recorder.told(told))
    return Kept(request_id=asked.request_id, position=asked.position)
