"""Encoding on a GPU: `python -m bench.gpu [TEXTS]` prints a table; without a GPU it says so.

Texts are made of words of the standard library's documentation, of about 240 tokens each, the size
of an abstract. The same texts go through `SentenceTransformer.encode` as it comes, and through this
project's encoder, from text to vectors in memory, each after one group that warms it up.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pydoc_data.topics import topics

import numpy as np
from rich.console import Console
from rich.table import Table

from ml_assets.documents.streams import as_done, batches
from ml_assets.embeddings.runtimes.gpu import GpuEncoder
from ml_assets.embeddings.space import current_model
from ml_assets.settings import load_settings

TEXTS = 20_700
WORDS = 150
"""About 240 tokens."""


def main() -> None:
    import torch

    if not torch.cuda.is_available():
        sys.exit("There is no GPU here that torch can use: nothing was measured")
    from sentence_transformers import SentenceTransformer

    count = int(sys.argv[1]) if len(sys.argv) > 1 else TEXTS
    texts, model = made_texts(count), current_model(load_settings())
    plain = SentenceTransformer(str(model.path), device="cuda")
    encoder = GpuEncoder(model)
    expected = measured(lambda: plain.encode(texts, show_progress_bar=False), texts, plain.encode)
    ours = measured(lambda: encoded(encoder, texts), texts, encoder.encode)
    cosine = float((expected[1] * ours[1]).sum(axis=1).min())
    table = Table("way", "seconds", "texts/s", "times", "worst cosine")
    table.add_row("SentenceTransformer.encode", *shown(expected[0], expected[0], count), "1")
    named = f"ml_assets, {encoder.precision}, {encoder.budget:,} tokens"
    table.add_row(named, *shown(ours[0], expected[0], count), f"{cosine:.5f}")
    Console().print(torch.cuda.get_device_name(), table)


def made_texts(count: int) -> list[str]:
    words = " ".join(topics.values()).split()
    draw = random.Random(0)
    return [
        " ".join(draw.choices(words, k=draw.randint(WORDS // 2, WORDS * 3 // 2)))
        for _ in range(count)
    ]


def encoded(encoder: GpuEncoder, texts: list[str]) -> np.ndarray:
    """As a run does it: groups of texts, the next one tokenized meanwhile."""
    groups = batches(texts, encoder.weight, encoder.batch_weight)
    return np.concatenate(
        [rows for _, rows in as_done(encoder.submit, groups, encoder.ahead, ordered=True)]
    )


def measured(
    work: Callable[[], np.ndarray], texts: list[str], warm: Callable[..., object]
) -> tuple[float, np.ndarray]:
    warm(texts[:512])
    started = time.perf_counter()
    vectors = np.asarray(work(), dtype=np.float32)
    return time.perf_counter() - started, vectors


def shown(seconds: float, base: float, count: int) -> tuple[str, str, str]:
    return f"{seconds:.2f}", f"{count / seconds:,.0f}", f"{base / seconds:.1f}"


if __name__ == "__main__":
    main()
