"""What a person at a prompt waits for: new processes, all embedded, the start of the server too."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import corpus, ours
from bench.measure import BIN, run
from bench.rows import Figure, Limit, Row
from bench.trivial_run import TRIVIAL, Trivial

QUERY = "how do I parse command line arguments"
SEARCH_LIMIT = Limit(plus=2.5)
UNCHANGED_LIMIT = Limit(factor=1, plus=1.5)
_ENCODE_ONE = """
import sys
from sentence_transformers import SentenceTransformer
SentenceTransformer(sys.argv[1]).encode(sys.argv[2])
"""


def measure(work: Path, texts: Sequence[corpus.Text], repetitions: int) -> list[Row]:
    """Bring up a deployment; then search it, and run it with nothing changed."""
    ours.place(corpus.write(texts, work / "texts.jsonl"), work)
    settings, log = ours.environment(work), work / "command.log"
    ml_assets = BIN / "ml-assets"
    encode = [sys.executable, "-c", _ENCODE_ONE, ours.model(), QUERY]
    trivial = Trivial(work / "trivial")
    run([ml_assets, "run"], settings, log)
    searches, encodes, unchanged, least = [], [], [], []
    for _ in range(repetitions):
        searches.append(run([ml_assets, "search", QUERY], settings, log).seconds)
        encodes.append(run(encode, settings, log).seconds)
        unchanged.append(run([ml_assets, "run"], settings, log).seconds)
        least.append(trivial.run())
    documents = f"{len(texts):,} documents"
    alone = Figure("one query through sentence-transformers", tuple(encodes))
    return [
        Row(
            f"`ml-assets search`, new process, {documents}, embedded server started by it",
            Figure("ml_assets", tuple(searches)),
            alone,
            SEARCH_LIMIT,
        ),
        Row(
            f"unchanged, new process, {documents}, embedded server started by it",
            Figure("ml_assets", tuple(unchanged)),
            Figure(TRIVIAL, tuple(least)),
            UNCHANGED_LIMIT,
        ),
    ]
