"""Two workers of a real Ray cluster, one of them killed in the middle."""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ml_assets.documents.model import Document
from ml_assets.embeddings.encoder import load_encoder
from ml_assets.embeddings.quantization import to_float16
from ml_assets.embeddings.refresh import refresh_embeddings
from ml_assets.embeddings.runtimes.ray import RayEncoder
from ml_assets.embeddings.space import current_model
from ml_assets.errors import SettingError
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets_tests.embeddings.corpus import load_documents


def test_what_is_asked_for_and_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    settings = load_settings(compute="ray")
    with pytest.raises(
        SettingError, match=r"ML_ASSETS_COMPUTE: it needs the extra `ray`\. Install"
    ):
        RayEncoder(current_model(settings), settings).encode(["x"])


def workers_of_this_run() -> list[int]:
    """The processes of actors whose parent is a node that this process started."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (place / "cmdline").read_bytes().startswith(b"ray::_Worker"):
                parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
                command = Path("/proc", parent, "cmdline").read_bytes()
                if str(tempfile.gettempdir()).encode() + b"/ml_assets-ray-" in command:
                    found.append(int(place.name))
    return found


def test_a_killed_worker_costs_nothing(
    connection: postgres.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RayEncoder, "batch_weight", 8)
    documents = [Document(f"d{n}", "a", f"Text {n} about {'words ' * (n % 9)}") for n in range(160)]
    names = load_documents(connection, *documents)
    settings = load_settings(
        home=tmp_path / "home", compute="ray", embedding_precision="float32", encoder="onnx"
    )
    local = settings.model_copy(update={"compute": "local"})
    encoder = load_encoder(settings, tokens=1_000_000)
    assert isinstance(encoder, RayEncoder)
    before = set(Path.home().iterdir())
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if done >= 40 and not killed:
            killed.append(workers_of_this_run()[0])
            os.kill(killed[0], signal.SIGKILL)

    report = refresh_embeddings(connection, encoder.space, lambda: encoder, names, progress=kill)
    assert (report.encoded, len(killed)) == (160, 1)
    rows = connection.execute(
        "select c.heading, c.text, e.embedding from document_embeddings e"
        " join chunks c using (chunk_id) order by e.text_hash"
    ).fetchall()
    exact, texts = load_encoder(local), [f"{h}\n{t}" if h else t for h, t, _ in rows]
    batches = [exact.encode(texts[start : start + 8]) for start in range(0, len(texts), 8)]
    stored = np.array([vector.to_numpy() for *_, vector in rows], dtype=np.float16)
    np.testing.assert_array_equal(stored, to_float16(np.concatenate(batches)))
    assert set(Path.home().iterdir()) == before
