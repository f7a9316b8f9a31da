"""The speed of a model on this processor, on ONNX Runtime and OpenVINO: measured once, kept."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.embeddings.space import ModelFolder
from ml_assets.stores.file_locks import locked
from ml_assets.stores.folders import folder, write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.embeddings.runtimes.batching import BatchingEncoder
    from ml_assets.embeddings.runtimes.reference import Precision

MIN_COSINE = 0.9995
"""Vectors in half precision that are further from float32, on any text, are not used."""

QUERY_GAIN = 1.3
"""How many times as fast as ONNX Runtime OpenVINO must be with queries, to be loaded for them: it
takes a few seconds of a start, and 100 MB."""

_VERSION = 2
_ROUNDS = 3
_PATIENCE = 120.0
"""Seconds that another process of a busy machine may take to measure."""

_SENTENCE = "Parse command line arguments: options, sub-commands, and their help.\n"
SAMPLE = [_SENTENCE * (1 + number % 12) + str(number) for number in range(48)]
QUERIES = [
    " ".join(f"option{number} of sub-commands".split() * (1 + number % 4)) for number in range(16)
]


@dataclass(frozen=True)
class Speeds:
    """Seconds that a sample takes each way, and OpenVINO's worst cosine to ONNX in float32.

    `load_seconds`: what OpenVINO takes to load the model. ONNX Runtime's are not set against them:
    a run that embeds loads it in any case, for its check in float32.
    """

    onnx_seconds: float
    openvino_seconds: float
    load_seconds: float
    worst_cosine: float
    tokens: int

    def openvino_wins(self, tokens: int, *, loaded: bool = False) -> bool:
        """Whether OpenVINO is exact enough, and encodes `tokens` tokens sooner."""
        per_token = (self.onnx_seconds - self.openvino_seconds) / self.tokens
        load_seconds = 0.0 if loaded else self.load_seconds
        return self.worst_cosine >= MIN_COSINE and per_token * tokens > load_seconds

    @property
    def openvino_wins_queries(self) -> bool:
        """Whether OpenVINO is exact enough, and so much faster that its loading is worth it."""
        gain = self.onnx_seconds / self.openvino_seconds
        return self.worst_cosine >= MIN_COSINE and gain >= QUERY_GAIN


def measured_speeds(
    model: ModelFolder,
    home: Path,
    precision: Precision,
    onnx: BatchingEncoder,
    openvino: BatchingEncoder,
    *,
    queries: bool = False,
) -> Speeds:
    """The speeds measured on this processor before, or now, with both loaded.

    Of many texts together, or of `queries`, each alone. Of several processes one measures: beside
    each other both ways are slow.

    Raises:
        StoreError: another process measures for minutes.
    """
    what = f"{precision}-queries" if queries else precision
    file = home / "models" / f"{model.space.space_id}-{_processor()}-{what}-{_VERSION}.json"
    if kept := _kept(file):
        return kept
    batches = [[query] for query in QUERIES] if queries else [SAMPLE]
    folder(file.parent)
    with locked(file.with_suffix(".lock"), _PATIENCE):
        speeds = _kept(file) or _measure(onnx, openvino, batches)
        write_whole(file, json.dumps(asdict(speeds)))
    return speeds


def _kept(file: Path) -> Speeds | None:
    with suppress(FileNotFoundError, ValueError, TypeError):  # there is none, or it was cut short
        return Speeds(**json.loads(file.read_text(encoding="utf-8")))
    return None


def _measure(
    onnx: BatchingEncoder, openvino: BatchingEncoder, batches: Sequence[Sequence[str]]
) -> Speeds:
    import numpy as np

    load_seconds = _seconds(openvino.load)
    ways = [partial(_encode, encoder, batches) for encoder in (onnx, openvino)]
    expected, vectors = (np.concatenate(encode()) for encode in ways)
    # By turns, so that what else the machine does falls on both.
    rounds = [[_seconds(encode) for encode in ways] for _ in range(_ROUNDS)]
    onnx_seconds, openvino_seconds = map(min, zip(*rounds, strict=True))
    return Speeds(
        onnx_seconds,
        openvino_seconds,
        load_seconds,
        worst_cosine=float((expected * vectors).sum(axis=1).min()),
        tokens=sum(len(ids) for batch in batches for ids in onnx.tokenize(batch)),
    )


def _encode(
    encoder: BatchingEncoder, batches: Sequence[Sequence[str]]
) -> list[NDArray[np.float32]]:
    return [encoder.encode(batch) for batch in batches]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _processor() -> str:
    """8 hex digits for this kind of processor and its cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line for line in lines if line.startswith("model name")), platform.processor())
    described = f"{platform.machine()} {model} {os.cpu_count()}"
    return hashlib.sha256(described.encode()).hexdigest()[:8]
