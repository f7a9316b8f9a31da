"""Model versions, their cards and trends; documents whose label is in doubt, or is to be given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ml_assets.console.layout import printable, table

if TYPE_CHECKING:
    from ml_assets.monitoring.trends import Trend
    from ml_assets.registry.labelling import Doubt, Doubts
    from ml_assets.registry.model import ModelVersion

_METRICS = {"test F1": "test_macro_f1", "accuracy": "test_accuracy", "log loss": "test_log_loss"}


def versions(rows: Sequence[tuple[ModelVersion, str]]) -> RenderableType:
    """Every version, the newest first."""
    if not rows:
        return Text("No model was registered yet.")
    shown = [
        {
            "version": version.version,
            "family": version.candidate.family,
            **{name: version.metrics.get(key) for name, key in _METRICS.items()},
            "now": role,
        }
        for version, role in rows
    ]
    return table("Model versions; `ml-assets models VERSION` shows the card of one", shown)


def card(text: str) -> RenderableType:
    """A card, as it is written."""
    return Text(printable(text))


def mistakes(found: Doubts) -> RenderableType:
    """What the champion gets wrong on its test documents."""
    if not found.count:
        return Text(f"All {found.of:,} test documents are answered as they are labelled.")
    return _listed(
        f"{found.count:,} of {found.of:,} test documents are answered otherwise{_more(found)}",
        found.rows,
    )


def label_errors(found: Doubts) -> RenderableType:
    """Labels that are probably wrong, and those that are mistaken for each other."""
    shown: RenderableType = Text(f"No label of {found.of:,} documents is in doubt.")
    if found.count:
        heading = f"{found.count:,} labels of {found.of:,} documents are in doubt{_more(found)}"
        shown = _listed(heading, found.rows)
    if not found.pairs:
        return shown
    pairs = [asdict(pair) for pair in found.pairs]
    return Group(shown, table("Labels that are mistaken for each other", pairs))


def to_label(found: Doubts) -> RenderableType:
    """What to label next."""
    if not found.count:
        return Text("There are no unlabelled documents.")
    heading = f"Of {found.count:,} documents without a label, label these first"
    return _listed(heading, found.rows)


def trends(name: str, rows: Sequence[Trend]) -> RenderableType:
    """Where each metric stands."""
    from ml_assets.monitoring.trends import sparkline

    shown = [
        {
            "metric": row.metric,
            "": sparkline(row.values),
            **{key: value for key, value in row.row().items() if key not in ("series", "metric")},
        }
        for row in rows
    ]
    return table(f"{name}: the mean of the last 5, the range of the last 20", shown)


def compared(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Two models side by side."""
    return table("Quality and costs; the difference is that of the second to the first", rows)


def _more(found: Doubts) -> str:
    shown = len(found.rows)
    return f"; the first {shown:,}, --limit shows more" if shown < found.count else ""


def _listed(heading: str, rows: Sequence[Doubt]) -> RenderableType:
    return Group(Text(f"{heading}\n", style="bold"), *map(_entry, range(1, len(rows) + 1), rows))


def _entry(rank: int, row: Doubt) -> RenderableType:
    """Title, collection, labels, text and id of a document."""
    own = "no label" if row.label is None else repr(row.label)
    return Group(
        _whole(
            (f"{rank:>2}. ", "dim"), (row.title or row.document_id, "bold"), f"  {row.collection}"
        ),
        _whole(f"    {own}, rather {row.suggested!r} ({row.confidence:.2f}): {row.why}"),
        Padding(Text(printable(" ".join(row.text.split()))), (0, 0, 0, 4)),
        _whole((f"    {row.document_id}\n", "blue")),
    )


def _whole(*parts: str | tuple[str, str]) -> Text:
    """One line, however narrow the terminal is: the id may be copied."""
    line = Text(no_wrap=True, overflow="ignore")
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        line.append(printable(text), style)
    return line
