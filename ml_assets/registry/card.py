"""The model card: what a version is, on what it was trained, how good it is, and what it is not.

After Mitchell et al., "Model Cards for Model Reporting" (2019). A pure function of what was
recorded; where a card is kept is `cards`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ml_assets.registry.model import ModelVersion
from ml_assets.training.model import Candidate

Interval = tuple[float, float, float]
"""A score, and the bounds of its 95 % interval."""

LONGEST_DESCRIPTION = 5_000
"""Characters that MLflow takes as the description of a version."""

_MOST_ROWS = 20
_METRICS = {
    "accuracy": "share of right answers",
    "macro_f1": "mean F1 of all labels",
    "log_loss": "in nats",
    "calibration_error": "expected calibration error",
    "debiased_calibration_error": "root mean square, less what chance adds",
}


@dataclass(frozen=True, slots=True)
class Data:
    """What a version was trained and tested on: documents by split, label and collection.

    `file`: the MLflow run that has the training set as a file, and its sha256. `left_out` are
    labels with too few groups. Times are those of the labels.
    """

    hash: str
    splits: Mapping[str, int]
    labels: Mapping[str, int]
    collections: Mapping[str, int]
    first: datetime
    last: datetime
    left_out: Mapping[str, int]
    unembedded: int
    file: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Report:
    """How good a version is on its test documents.

    `intervals` are by metric, `slices` by name: the documents in it, and the accuracy on them.
    `weakest` are the labels with the least F1: label, F1, test documents. `baselines` are
    their macro-F1. `newest`: the candidate that was also fitted on the older documents alone, and
    tested on the newest; None: the documents have no times.
    """

    intervals: Mapping[str, Interval]
    slices: Mapping[str, tuple[int, float]]
    weakest: Sequence[tuple[str, float, int]]
    baselines: Mapping[str, float]
    newest: Candidate | None = None


def model_card(version: ModelVersion, encoder: str, data: Data, report: Report, owner: str) -> str:
    """The card as Markdown; of long tables the first 20 rows. `encoder` is the embedding model."""
    sections = {
        "Use": _use(version, encoder, data, owner),
        "Training data": _data(data),
        "Quality on test documents": _quality(version, report),
        "Slices": _slices(report),
        "In time": _in_time(report.newest),
        "Limits": _limits(data, encoder),
        "Going back": _going_back(version),
    }
    body = "\n".join(f"## {name}\n\n{text}\n" for name, text in sections.items() if text)
    return f"# {version.name} {version.version}\n\n{body}"


def shortened(card: str, most: int = LONGEST_DESCRIPTION) -> str:
    """A card of at most so many characters: whole sections, and where the rest is."""
    if len(card) <= most:
        return card
    end = "\nThe whole card is the artifact `model_card.md` of the run.\n"
    kept, *sections = card.split("\n## ")
    for section in sections:
        if len(kept) + len(section) + len("\n## ") + len(end) > most:
            break
        kept += f"\n## {section}"
    return kept[: most - len(end)] + end


def _plain(value: object) -> str:
    """A parameter as a person writes it."""
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _use(version: ModelVersion, encoder: str, data: Data, owner: str) -> str:
    candidate = version.candidate
    parameters = ", ".join(
        f"{name} {_plain(value)}" for name, value in candidate.parameters.items()
    )
    return facts(
        {
            "answers": f"one of {len(data.labels):,} labels for a document, with probabilities",
            "family": f"{candidate.family} ({parameters})" if parameters else candidate.family,
            "vectors": f"{encoder}, space {version.space_id}",
            "feature views": ", ".join(version.feature_views) or "none",
            "owner": owner,
            "MLflow run": candidate.run_id,
            "served by": "ONNX" if candidate.onnx_sha256 else "skops",
        }
    )


def _data(data: Data) -> str:
    splits = ", ".join(f"{count:,} {split}" for split, count in data.splits.items())
    file = {"file": f"training_set.parquet of run {data.file[0]}"} if data.file else {}
    digest = {"sha256 of the file": data.file[1]} if data.file else {}
    known = facts(
        {
            "training set": data.hash,
            "documents": f"{sum(data.splits.values()):,}: {splits}",
            "labels from": f"{data.first:%Y-%m-%d} to {data.last:%Y-%m-%d}",
            **file,
            **digest,
        }
    )
    tables = [
        table((kind, "documents"), counts.items())
        for kind, counts in (("label", data.labels), ("collection", data.collections))
    ]
    return "\n\n".join([known, *tables])


def _quality(version: ModelVersion, report: Report) -> str:
    rows: list[tuple[object, ...]] = []
    for name, meaning in _METRICS.items():
        if (value := version.metrics.get(f"test_{name}")) is not None:
            known = report.intervals.get(name)
            between = f"{known[1]:.3f} to {known[2]:.3f}" if known else ""
            rows.append((name, f"{value:.3f}", between, meaning))
    rows += [
        (f"macro_f1 of {name}", f"{value:.3f}", "", "a baseline")
        for name, value in report.baselines.items()
    ]
    quality = table(("metric", "value", "95 %", "what it is"), rows)
    if not report.weakest:
        return quality
    weakest = [(name, f"{f1:.3f}", count) for name, f1, count in report.weakest]
    return f"{quality}\n\n{table(('weakest labels', 'F1', 'test documents'), weakest)}"


def _slices(report: Report) -> str:
    rows = [(name, count, f"{share:.3f}") for name, (count, share) in report.slices.items()]
    return table(("slice", "test documents", "accuracy"), rows) if rows else ""


def _in_time(newest: Candidate | None) -> str:
    """How much a family loses on documents that are newer than all that it was trained on."""
    if newest is None:
        return ""
    metrics = newest.metrics
    return (
        f"{cell(newest.family)}, trained on the older documents alone, answers"
        f" {metrics['newest_accuracy']:.3f} of the {metrics['newest_documents']:,.0f} newest right;"
        f" of documents of any time {metrics['test_accuracy']:.3f}."
    )


def _limits(data: Data, encoder: str) -> str:
    lines = [
        "It answers with one of its labels for any text, also for one that none of them fits.",
        f"It knows what {encoder} reads; of other languages and scripts it knows little.",
        f"What was written after {data.last:%Y-%m-%d} it has not seen.",
    ]
    if data.left_out:
        names = ", ".join(map(_code, [*data.left_out][:_MOST_ROWS]))
        lines.append(f"{len(data.left_out):,} labels had too few documents: {names}.")
    if data.unembedded:
        lines.append(f"{data.unembedded:,} labelled documents had no vector, and were left out.")
    lines.append("Labels that are probably wrong: `ml-assets errors --labels`.")
    return "\n".join(f"- {line}" for line in lines)


def _going_back(version: ModelVersion) -> str:
    return (
        "`ml-assets rollback --reason …` goes back to what was served before;"
        f" `ml-assets publish {version.version} --reason …` serves this version again."
    )


def facts(pairs: Mapping[str, object]) -> str:
    """Names and values as a list of Markdown; what stands in a value cannot break it."""
    return "\n".join(f"- {name}: {cell(value)}" for name, value in pairs.items())


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown, of its first rows; what stands in a cell cannot break it."""
    rows = list(rows)
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(map(cell, row)) for row in rows[:_MOST_ROWS]]
    more = f"\n\n… and {len(rows) - _MOST_ROWS:,} more" if len(rows) > _MOST_ROWS else ""
    return "\n".join(f"| {line} |" for line in lines) + more


def cell(value: object) -> str:
    """A value on one line, with every sign escaped that means something in Markdown."""
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return "".join(f"\\{sign}" if sign in "\\|`*_<>[]" else sign for sign in " ".join(text.split()))


def _code(text: str) -> str:
    return f"`{text}`" if "`" not in text else cell(text)
