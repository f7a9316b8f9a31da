"""LangChain's EnsembleRetriever of BM25 and PGVectorStore behind FastAPI.

`python -m bench.serving.contenders.langchain_service DATABASE STATE MODEL PROCESSES PORT` fills a
table, and serves it: each process has retrievers and a model of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from bench.search.contenders import search_langchain

_VARIABLE = "BENCH_LANGCHAIN"


class Asked(BaseModel):
    """As ours is asked."""

    query: str


class Found(BaseModel):
    """Texts, best first."""

    hits: list[str]


def main() -> None:
    """Read the arguments, fill, serve."""
    database, state, model, processes, port = sys.argv[1:]
    search_langchain.fill(database, Path(state))
    os.environ[_VARIABLE] = "\n".join([database, state, model])
    uvicorn.run(
        f"{__spec__.name}:create",
        factory=True,
        port=int(port),
        workers=int(processes),
        access_log=False,
    )


def create() -> FastAPI:
    """The application of a process."""
    database, state, model = os.environ[_VARIABLE].split("\n")
    search = search_langchain.opened(database, Path(state), Path(model))
    app = FastAPI()

    @app.get("/ready")
    def ready() -> bool:
        return True

    @app.post("/v1/search")
    def answer(asked: Asked) -> Found:
        return Found(hits=search(asked.query))

    return app


if __name__ == "__main__":
    main()
