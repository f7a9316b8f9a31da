"""What a run would do, what it did, and what it did to a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from heapq import nlargest
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from ml_assets.console.layout import NOTHING, facts, moment, table
from ml_assets.console.status import describe_challenger, failed_checks, standing
from ml_assets.errors import IncompleteReadError

if TYPE_CHECKING:
    from ml_assets.defs.run import RunReport
    from ml_assets.embeddings.scripts import Unreadable
    from ml_assets.operations.plan import Plan


_MOST_LABELS = 10


def plan(planned: Plan, texts_per_second: float | None, price: float = 0) -> RenderableType:
    """What a run would do, and about how long the encoding would take and, at `price`, cost."""
    rows = [{"rows": name, **asdict(getattr(planned, name))} for name in ("documents", "chunks")]
    waiting = planned.challenger
    minutes = "unknown before the first run" if planned.encode else NOTHING
    if texts_per_second and planned.encode:
        minutes = f"{planned.encode / texts_per_second / 60:.1f} at {texts_per_second:.0f} texts/s"
    return Group(
        table(f"Collections to read: {len(planned.collections)}", rows),
        facts(
            "Vectors",
            {
                "texts to encode": planned.encode,
                "their tokens": f"{planned.tokens:,}",
                **({"cost": f"about {cost_of(planned, price):.4f}"} if price else {}),
                "vectors to reuse": planned.reuse,
                "new vectors": f"{planned.vector_bytes / 1e6:.1f} MB",
                "minutes": minutes,
            },
        ),
        facts("Left out", {"quarantined rows": f"{planned.rejected:,}"}),
        *_left_out(planned.no_model, planned.unreadable),
        *_doubtful_labels(planned.small_labels, planned.alike_labels),
        *([facts("Challenger", describe_challenger(asdict(waiting)))] if waiting else []),
    )


def cost_of(planned: Plan, price: float) -> float:
    """What the encoding would cost, at `price` for a million tokens."""
    return planned.tokens * price / 1e6


def run_summary(
    report: RunReport, numbers: Mapping[str, Any], most: int | None = None
) -> Iterator[RenderableType]:
    """What a run did and where things stand: counts, search quality, candidates, seconds.

    Of the steps, the `most` that took longest; all if that is None.
    """
    yield facts(
        "Documents",
        {
            "collections": f"{numbers['collections']:,}, {len(report.requested)} changed",
            **({"not read": len(report.unread)} if report.unread else {}),
            "documents": numbers["documents"],
            **({"removed": report.removed} if report.removed else {}),
            "quarantined": _quarantined(numbers["rejected"]),
            "chunks": numbers["chunks"],
            "embedded new": report.encoded,
            "vectors copied": report.reused,
            "vectors kept": numbers["vectors"] - report.encoded - report.reused,
        },
    )
    yield from standing(numbers)
    yield from _left_out(report.no_model, report.unreadable)
    for key, views in report.unheld_keys.items():
        yield Text(
            f"\n  No document has {key} in its metadata, so models learn nothing from"
            f" {' and '.join(views)}. Have the source carry it: metadata={key}"
        )
    yield from _doubtful_labels(report.small_labels, report.alike_labels)
    seconds = {name: value for name, value in report.seconds.items() if value >= 0.05}
    longest = nlargest(most or len(seconds), seconds, key=lambda name: seconds[name])
    shown = {name: f"{value:.1f} s" for name, value in seconds.items() if name in longest}
    rest = "; --verbose shows all" if len(shown) < len(seconds) else ""
    yield facts(f"Seconds per stage{rest}", shown)


def _quarantined(rows: int) -> str:
    return f"{rows:,}{' (`ml-assets rejected` lists them)' if rows else ''}"


def _left_out(no_model: str, unreadable: Unreadable) -> Iterator[RenderableType]:
    """Which documents vectors cannot find, and why there is no model."""
    if unreadable.documents:
        yield Text(f"\n  {_by_words_alone(unreadable)}")
    if no_model:
        reason = f"{no_model[0].upper()}{no_model[1:]}"
        yield Text(f"\n  {reason}, so there is no model to train.")


def _doubtful_labels(
    small_labels: Mapping[str, int], alike_labels: Sequence[Sequence[str]]
) -> Iterator[RenderableType]:
    """Which labels no model is trained on, and which are perhaps one."""
    if small_labels:
        count = "1 label has" if len(small_labels) == 1 else f"{len(small_labels):,} labels have"
        rows = [{"label": label, "groups": groups} for label, groups in small_labels.items()]
        more = f"; the first {_MOST_LABELS}" if len(rows) > _MOST_LABELS else ""
        title = f"{count} too few groups of documents to train on{more}"
        yield table(title, rows[:_MOST_LABELS])
    if alike_labels:
        shown = [" and ".join(map(repr, names)) for names in alike_labels[:_MOST_LABELS]]
        rest = len(alike_labels) - len(shown)
        yield Text(
            "\n  Labels that differ by case, spacing or unseen characters alone are several to a"
            f" model: {'; '.join(shown)}{f'; and {rest} more' if rest else ''}."
            " Write them alike where they mean the same."
        )


def _by_words_alone(unreadable: Unreadable) -> str:
    count = unreadable.documents
    written = "1 document is" if count == 1 else f"{count:,} documents are"
    return (
        f"{written} written in a script that {unreadable.model} does not know, such as"
        f" {unreadable.example!r}: a search finds their words, but not their meaning. Set"
        " ML_ASSETS_EMBEDDING_MODEL to a multilingual model, as intfloat/multilingual-e5-small is."
    )


def nothing_to_do(ended: datetime, numbers: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What stands since the last run, which ended well."""
    yield Text(
        f"Nothing changed since the run that ended {moment(ended)};"
        " no step was run (--all looks at every one)"
    )
    yield facts(
        "Documents",
        {name: numbers[name] for name in ("collections", "documents", "chunks", "vectors")},
    )
    yield from standing(numbers)


def run_problems(report: RunReport) -> Iterator[str]:
    """One line per failed check, per collection that was not read, and per error."""
    yield from failed_checks(report.failed_checks)
    if report.left_alone:
        yield f"[yellow]Models are left as they are:[/yellow] {escape(report.left_alone)}"
    for line in (*str(IncompleteReadError(report.unread)).splitlines(), *report.errors):
        yield f"[red]Error[/red] {escape(line)}"


def history(document_id: str, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """What happened to a document, oldest first."""
    shown = [
        {
            "when": moment(row["changed_at"]),
            "what": f"{row['stage']} {row['action']}",
            "why": row["reason"],
            "collection": row["collection"],
            "run": (row["run_id"] or NOTHING)[:8],
        }
        for row in rows
    ]
    return table(document_id, shown)
