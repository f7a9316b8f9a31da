"""The peers' environment: which of them are installed, and in which versions."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from bench.measure import PROJECT

PYTHON = PROJECT / "bench" / ".venv" / "bin" / "python"
_VERSIONS = """
import importlib.metadata as metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Peer:
    """A project that keeps vectors up to date: its name, and what it needs installed."""

    name: str
    module: str
    distributions: tuple[str, ...]


PEERS = (
    Peer(
        "LangChain",
        "langchain_pgvector",
        ("langchain-core", "langchain-classic", "langchain-postgres", "langchain-huggingface"),
    ),
    Peer(
        "LlamaIndex",
        "llamaindex_pgvector",
        (
            "llama-index-core",
            "llama-index-vector-stores-postgres",
            "llama-index-embeddings-huggingface",
        ),
    ),
    Peer("CocoIndex", "cocoindex_pgvector", ("cocoindex",)),
)

OF_SEARCH = ("langchain-community", "rank-bm25", "hnswlib")
"""What `bench.search` needs beyond."""

OF_SERVING = ("mlflow", "fastapi", "uvicorn", "scikit-learn")
"""What `bench.serving` needs beyond that."""


def peer_versions() -> dict[str, str]:
    """The installed distributions of the peers, and what decides their speed, by version."""
    if not PYTHON.exists():
        return {}
    names = [name for peer in PEERS for name in peer.distributions]
    asked = [*names, "torch", "sentence-transformers", "transformers", *OF_SEARCH, *OF_SERVING]
    answer = subprocess.run(
        [str(PYTHON), "-c", _VERSIONS, *asked], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, str] = json.loads(answer)
    return found


def installed(versions: dict[str, str]) -> list[Peer]:
    """The peers of which nothing is missing."""
    return [peer for peer in PEERS if set(peer.distributions) <= versions.keys()]
