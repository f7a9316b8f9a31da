"""The ONNX form of a sentence-transformers model: made once, verified, run by ONNX Runtime."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.embeddings.model_files import files_sha256, modules_of
from ml_assets.embeddings.runtimes.batching import BatchingEncoder
from ml_assets.embeddings.runtimes.reference import SentenceTransformerEncoder
from ml_assets.embeddings.space import ModelFolder, VectorSpace
from ml_assets.errors import ModelError, first_line
from ml_assets.stores.folders import folder, write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.embeddings.encoder import Encoder
    from ml_assets.embeddings.runtimes.batching import Padded, Run

MIN_COSINE = 0.9999
"""An export whose vectors are further from the reference, on any sample, is not used."""

VERSION = 2
_LEAST_WEIGHTS = 1024
"""Bytes of a tensor that is kept beside the graph."""

_APART = "from ml_assets.embeddings.runtimes.onnx import export_given; export_given()"

_SAMPLE = (
    "Return the absolute value of a number.",
    "a",
    "Parse command line arguments: options, sub-commands, and their help.\n" * 4,
    "Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144 \u6f22\u5b57 \U0001f642",
    "def f(x):\n    return x ** 2  # 0x1F, 3.14, @decorator",
    "word " * 400,
)


@dataclass(frozen=True)
class Export:
    """A model in ONNX form, and the worst cosine to the reference on the sample.

    Its weights lie beside the graph: mapped into memory, not read, they are loaded in half the
    time, and the vectors of words that are not asked for never.
    """

    path: Path
    worst_cosine: float
    reason: str = ""
    sha256: str = ""

    @property
    def usable(self) -> bool:
        """The export was made, and agrees with the reference."""
        return not self.reason and self.worst_cosine >= MIN_COSINE

    @property
    def files(self) -> list[Path]:
        """The graph, and its weights."""
        return [self.path, self.path.with_suffix(".weights")]


def onnx_encoder(model: ModelFolder, path: Path, threads: int = 0) -> BatchingEncoder:
    """An encoder on ONNX Runtime, in float32, of the export at `path`.

    It works with so many threads; 0: as many as there are cores.
    """
    return BatchingEncoder(model, lambda: _load(path, threads), "onnx float32")


def _load(path: Path, threads: int) -> Run:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Threads spin while they wait for each other, which makes a query faster; but not between two
    # batches, when they would take the cores from PostgreSQL.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(batches: Iterable[Padded]) -> Iterator[NDArray[np.float32]]:
        for ids, mask in batches:
            yield session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    return run


def was_tried(model: ModelFolder, home: Path) -> bool:
    """Whether there is a verdict on an export of `model` under `home`."""
    return _record(model, home).exists()


def find_export(model: ModelFolder, home: Path) -> Export | None:
    """The export of `model` under `home`, whether usable or not; None when it must be made.

    A model file that is missing, or is not the one that was verified, must be made again.
    """
    record = _record(model, home)
    try:
        stored = Export(_path(model, home), **json.loads(record.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):  # there is none, or it was cut short
        return None
    return stored if not stored.usable or _sha256(stored, home) == stored.sha256 else None


def export_apart(model: ModelFolder, home: Path) -> Export:
    """What `export` does, in a process of its own: half a GiB of torch is free again after it.

    Raises:
        ModelError: the process ended without a verdict.
    """
    given = {"path": str(model.path), "space": asdict(model.space), "home": str(home)}
    # -P: what lies in the current folder is not imported.
    command = [sys.executable, "-P", "-c", _APART]
    done = subprocess.run(
        command, input=json.dumps(given), text=True, capture_output=True, check=False
    )
    made = find_export(model, home)
    if done.returncode or made is None:
        last = done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.returncode}"
        raise ModelError(
            f"the model cannot be exported ({last})",
            where=str(model.path),
            do="Free some memory, or set ML_ASSETS_ENCODER=sentence-transformers",
        )
    return made


def export_given() -> None:
    """Export the model that the standard input describes."""
    given = json.load(sys.stdin)
    model = ModelFolder(Path(given["path"]), VectorSpace(**given["space"]))
    export(model, Path(given["home"]), SentenceTransformerEncoder(model, "float32"))


def export(model: ModelFolder, home: Path, reference: SentenceTransformerEncoder) -> Export:
    """Export the transformer of `model`, verify it against `reference`, and keep the verdict.

    A model that does not export, or whose vectors differ, is recorded as not usable, with the
    reason; nobody tries again.
    """
    target = _path(model, home)
    folder(target.parent)
    temporary = folder(target.with_suffix(f".{os.getpid()}.tmp"))
    made = Export(temporary / target.name, 0.0)
    worst, reason, sha256 = 0.0, "", ""
    pooling = model.space.pooling
    if not model.space.normalized or "mean" not in pooling or "," in pooling:
        reason = f"only normalised mean pooling is exported, not {pooling}"
    if others := modules_of(model.path).keys() - {"Transformer", "Pooling", "Normalize"}:
        reason = f"only a transformer is exported, not {', '.join(sorted(others))}"
    try:
        reason = reason or _write(reference, made)
        if not reason:
            worst = _worst_cosine(onnx_encoder(model, made.path), reference)
            reason = "" if worst >= MIN_COSINE else f"its vectors differ, cosine {worst:.5f}"
            sha256 = _sha256(made)
            for file in made.files:
                file.replace(target.with_name(file.name))
            for older in set(target.parent.glob(f"{model.space.space_id}-?.onnx")) - {target}:
                older.unlink(missing_ok=True)
        # Last, and at once: a record without its model would never be repaired.
        verdict = {"worst_cosine": worst, "reason": reason, "sha256": sha256}
        write_whole(_record(model, home), json.dumps(verdict))
    finally:
        shutil.rmtree(temporary)
    return Export(target, worst, reason, sha256)


def _path(model: ModelFolder, home: Path) -> Path:
    return home / "models" / f"{model.space.space_id}-{VERSION}.onnx"


def _record(model: ModelFolder, home: Path) -> Path:
    return _path(model, home).with_suffix(".json")


def _sha256(export: Export, home: Path | None = None) -> str:
    """That of its files, noted in a `home`; nothing where one is missing."""
    whole = all(file.exists() for file in export.files)
    return files_sha256(export.files, export.path.parent, home) if whole else ""


def _worst_cosine(encoder: Encoder, reference: Encoder) -> float:
    texts = list(_SAMPLE)
    return float((encoder.encode(texts) * reference.encode(texts)).sum(axis=1).min())


def _write(reference: SentenceTransformerEncoder, target: Export) -> str:
    """Export to the files of `target`; return why that cannot be done, or nothing."""
    import torch

    transformer: Any = reference.transformer[0].auto_model
    # The exporter follows eager attention; the fused kernel of torch has no ONNX form.
    transformer.set_attn_implementation("eager")

    class LastHiddenState(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            output = self.transformer(input_ids=input_ids, attention_mask=attention_mask)
            hidden: torch.Tensor = output.last_hidden_state
            return hidden

    whole = target.path.with_suffix(".whole")
    example = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 0]]), torch.tensor([[1] * 4, [1, 1, 1, 0]])
    shape = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter is deprecated for the one that needs onnxscript; both are verified.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                LastHiddenState().eval(),
                example,
                str(whole),
                input_names=["input_ids", "attention_mask"],
                output_names=["hidden"],
                dynamic_axes={"input_ids": shape, "attention_mask": shape, "hidden": shape},
                opset_version=17,
                dynamo=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
            return f"it does not export ({first_line(error)})"
    _part(whole, target)
    return ""


def _part(whole: Path, target: Export) -> None:
    """Write a model as its graph, as it is, and its weights."""
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    graph, weights = target.files
    options = SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    options.optimized_model_filepath = str(graph)
    beside = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{beside}_file_name", weights.name)
    options.add_session_config_entry(f"{beside}_min_size_in_bytes", str(_LEAST_WEIGHTS))
    InferenceSession(str(whole), options, providers=["CPUExecutionProvider"])
