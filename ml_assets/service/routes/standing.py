"""How the service stands: the release, whether it lives and is ready, its metrics."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request, Response

from ml_assets.service.access import Reader, identify
from ml_assets.service.answering import Pinned, Service, TheService
from ml_assets.service.following.deployments import read_deployments
from ml_assets.service.refusals import RefusedError
from ml_assets.service.routes import PREFIX
from ml_assets.service.schemas import Health, Readiness, ReleaseAnswer, Store

router = APIRouter(prefix=PREFIX, tags=["release"])
probes = APIRouter(tags=["probes"])

_STORES = ("postgres", "online", "index", "search", "model")


@router.get("/release")
async def release(_: Reader, opened: Pinned, service: TheService) -> ReleaseAnswer:
    """The release that answers, its parts, and the processes that serve, each with its own."""
    served = opened.served.release
    processes = await service.on_lane(opened, lambda lane: read_deployments(lane.connection))
    answer = ReleaseAnswer(
        release=opened.served.release_id, version=service.process.version, deployments=processes
    )
    if served:
        answer.served_from, answer.actor = served.served_from, served.actor
        answer.action, answer.reason = served.action, served.reason
        answer.parts = asdict(served.parts)
    return answer


@probes.get("/health", responses={503: {"model": Health}})
async def health(response: Response, service: TheService) -> Health:
    """Whether the process is alive, or should be started anew; it waits for no store."""
    if not service.state.follows:
        response.status_code = 503
        return Health(status="failed")
    return Health()


@probes.get("/ready", responses={503: {"model": Readiness}})
async def ready(request: Request, response: Response, service: TheService) -> Readiness:
    """Whether every store answers and something is served; who may read is told why not."""
    readiness = _readiness(service)
    if not readiness.ready:
        response.status_code = 503
    if not _may_read(request, service):
        readiness.warnings = []
        for store in readiness.stores.values():
            store.reason = ""
    return readiness


@probes.get("/metrics", response_class=Response)
async def metrics(request: Request, service: TheService) -> Response:
    """What Prometheus reads, of all processes on this port; it needs a key, where there are any."""
    if not _may_read(request, service):
        raise RefusedError(
            401, "unauthorized", "there is no valid key", do="Send one that may read"
        )
    readiness = _readiness(service)
    up = {name: store.ok for name, store in readiness.stores.items()}
    service.metrics.standing(readiness.release, up)
    service.metrics.cached(service.cache.statistics())
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _readiness(service: Service) -> Readiness:
    state = service.state
    troubles = dict(state.troubles)
    if state.current is None:
        troubles.setdefault("postgres", "it has not answered yet")
    elif state.current.served.generation is None:
        troubles.setdefault("search", "no search was published yet")
    stores = {
        name: Store(ok=name not in troubles, reason=troubles.get(name, "")) for name in _STORES
    }
    warnings = [*filter(None, [state.warning]), *service.recorder.warnings()]
    return Readiness(ready=not troubles, release=state.release_id, stores=stores, warnings=warnings)


def _may_read(request: Request, service: Service) -> bool:
    try:
        return "read" in identify(request, service).scopes
    except RefusedError:
        return False
