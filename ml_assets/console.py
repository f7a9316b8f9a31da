"""How things look at a prompt: progress, tables, search results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ml_assets.errors import IncompleteReadError
from ml_assets.search.filters.language import NO_FILTER

if TYPE_CHECKING:
    from ml_assets.defs.run import RunReport
    from ml_assets.documents.refresh import Progress as Report
    from ml_assets.embeddings.plan import Plan
    from ml_assets.finished import FailedCheck
    from ml_assets.search.model import SearchResult

NOTHING = "-"
_METRICS = (
    ("validation F1", "validation_macro_f1"),
    ("test F1", "test_macro_f1"),
    ("accuracy", "test_accuracy"),
    ("log loss", "test_log_loss"),
)
"""Columns of the candidates; F1 is the macro average."""
_COUNTS = ("added", "changed", "removed", "unchanged")
_QUALITY = ("mrr@10", "recall@10", "precision@10", "map@100")


class StageBars:
    """One bar per stage with rate and time left, and one line when the stage ends."""

    def __init__(self, console: Console) -> None:
        """Show on `console`."""
        self._console = console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> StageBars:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """Show a stage until it ends; the yielded callable takes (done, total)."""
        started = perf_counter()
        task = self._bars.add_task(name, total=None, rate="")
        count = 0

        def report(done: int, total: int) -> None:
            nonlocal count
            count = done
            rate = f"{done / max(perf_counter() - started, 1e-3):,.0f}/s"
            self._bars.update(task, completed=done, total=total or None, rate=rate)

        try:
            yield report
        finally:
            self._bars.remove_task(task)
            seconds = perf_counter() - started
            rate = count / max(seconds, 1e-3)
            counted = f"{count:>9,}" if count else ""
            pace = f"{rate:,.0f}/s" if rate >= 10 else ""
            line = f"  {name:<20}{counted:>9}  {pace:>10}  {seconds:>7.1f} s"
            self._console.print(line, highlight=False)


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A table of equal-keyed rows; numbers to the right."""
    shown = Table(box=None, pad_edge=False)
    for key in rows[0] if rows else ():
        numeric = isinstance(rows[0][key], int | float)
        shown.add_column(key.replace("_", " "), justify="right" if numeric else "left")
    for row in rows:
        shown.add_row(*(_cell(value) for value in row.values()))
    return _titled(title, shown)


def facts(title: str, pairs: Mapping[str, Any]) -> RenderableType:
    """Two columns: what, and its figure."""
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="dim")
    shown.add_column()
    for name, value in pairs.items():
        shown.add_row(name.replace("_", " "), _cell(value))
    return _titled(title, shown)


def _titled(title: str, shown: Table) -> RenderableType:
    # Not the table's own title: that is wrapped to the width of the columns.
    return Padding(Group(Text(title, style="bold"), shown), (1, 0, 0, 2), expand=False)


def hits(found: SearchResult) -> RenderableType:
    """The documents of a search, best first, with the text that matched."""
    lines: list[RenderableType] = []
    for rank, hit in enumerate(found.hits, start=1):
        head = Text.assemble(
            (f"{rank:>2}. ", "dim"), (hit.title or hit.document_id, "bold"), f"  {hit.collection}"
        )
        lines.append(head)
        lines.append(Padding(Text(" ".join(hit.snippet.split()), style="default"), (0, 0, 0, 4)))
        if hit.url:
            lines.append(Text(f"    {hit.url}\n", style="blue", no_wrap=True, overflow="ignore"))
    if not found.hits:
        lines.append(Text("Nothing found."))
    if not found.complete:
        why = "the filter left" if found.filters != NO_FILTER else "there are"
        lines.append(Text(f"Incomplete: {why} fewer than asked for.", style="yellow"))
    return Group(*lines)


def predictions(
    texts: Sequence[str], answers: Sequence[Mapping[str, float]], most: int = 3
) -> Group:
    """The most probable labels of each text."""
    return Group(
        *(
            table(
                f"{' '.join(text.split())[:70]}",
                [
                    {"label": label, "probability": f"{probability:.3f}"}
                    for label, probability in sorted(answer.items(), key=lambda pair: -pair[1])[
                        :most
                    ]
                ],
            )
            for text, answer in zip(texts, answers, strict=True)
        )
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NOTHING}[value]
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return escape(str(value))


def run_summary(report: RunReport, figures: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What a run did and where things stand: counts, search quality, candidates, seconds."""
    yield facts(
        "Documents",
        {
            "collections": f"{figures['collections']:,}, {len(report.requested)} changed",
            **({"not read": len(report.unread)} if report.unread else {}),
            "documents": figures["documents"],
            "set aside": figures["rejected"],
            "chunks": figures["chunks"],
            "embedded new": report.encoded,
            "vectors copied": report.reused,
            "vectors kept": figures["vectors"] - report.encoded - report.reused,
        },
    )
    yield from _standing(figures)
    if not report.labelled:
        yield Text("\n  No document has a label, so there is no model to train.")
    seconds = {name: f"{value:.1f} s" for name, value in report.seconds.items() if value >= 0.05}
    yield facts("Seconds per stage", seconds)


def nothing_to_do(ended: datetime, figures: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What stands since the last run, which ended well."""
    yield Text(
        f"Nothing changed since the run that ended {_moment(ended)};"
        " no step was run (--all looks at every one)"
    )
    yield facts(
        "Documents",
        {name: figures[name] for name in ("collections", "documents", "chunks", "vectors")},
    )
    yield from _standing(figures)


def run_problems(report: RunReport) -> Iterator[str]:
    """One line per failed check, per collection that was not read, and per error."""
    yield from failed_checks(report.failed_checks)
    for line in (*str(IncompleteReadError(report.unread)).splitlines(), *report.errors):
        yield f"[red]Error[/red] {escape(line)}"


def failed_checks(failed: Sequence[FailedCheck]) -> Iterator[str]:
    """One line per failed check, with the numbers it compared."""
    for name, blocking, numbers in failed:
        kind = "[red]Blocking check failed[/red]" if blocking else "[yellow]Check failed[/yellow]"
        compared = ", ".join(
            f"{key} {_cell(value)}"
            for key, value in numbers.items()
            if isinstance(value, int | float | str) and "\n" not in str(value)
        )
        yield f"{kind} {name}: {compared}"


def plan(planned: Plan, texts_per_second: float | None) -> RenderableType:
    """What a run would do, and about how long the encoding would take."""
    rows = [
        {"rows": name, **{count: getattr(delta, count) for count in _COUNTS}}
        for name, delta in (("documents", planned.documents), ("chunks", planned.chunks))
    ]
    minutes = "-" if not planned.encode else "unknown before the first run"
    if texts_per_second and planned.encode:
        minutes = f"{planned.encode / texts_per_second / 60:.1f} at {texts_per_second:.0f} texts/s"
    return Group(
        table(f"{len(planned.collections)} collections to read", rows),
        facts(
            "Vectors",
            {
                "texts to encode": planned.encode,
                "vectors to reuse": planned.reuse,
                "new vectors": f"{planned.vector_bytes / 1e6:.1f} MB",
                "minutes": minutes,
            },
        ),
    )


def history(document_id: str, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """What happened to a document, oldest first."""
    shown = [
        {
            "when": _moment(row["changed_at"]),
            "what": f"{row['stage']} {row['action']}",
            "why": row["reason"],
            "collection": row["collection"],
            "run": (row["run_id"] or NOTHING)[:8],
        }
        for row in rows
    ]
    return table(document_id, shown)


def status(figures: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Everything `ml-assets status` knows."""
    yield facts(
        f"{figures['source']} in {figures['home']}",
        {
            name: figures[name]
            for name in ("collections", "documents", "tombstones", "rejected", "chunks", "vectors")
        },
    )
    if figures["by_collection"]:
        shown = [
            {
                "collection": row["collection"],
                "documents": row["documents"],
                "read": _moment(row["refreshed_at"]),
            }
            for row in figures["by_collection"]
        ]
        yield table("Collections", shown)
    unread = [row for row in figures["by_collection"] if row["read_error"]]
    if unread:
        shown = [
            {
                "collection": row["collection"],
                "since": _moment(row["failed_at"]),
                "reason": row["read_error"],
            }
            for row in unread
        ]
        yield table("Could not be read, left as they were", shown)
    if figures["generations"]:
        shown = [
            {
                "generation": row["generation_id"],
                "state": row["state"],
                "built": _moment(row["created_at"]),
                "published": _moment(row["published_at"]),
            }
            for row in figures["generations"]
        ]
        yield table("Search generations", shown)
    yield from _standing(figures)
    if figures["last_runs"]:
        yield table("Last runs", figures["last_runs"])


def generations(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Every search generation, the published one first; recall is that of its worst index."""
    if not rows:
        return Text("No search was built yet.")
    shown = [
        {
            "generation": row["generation_id"],
            "state": "withdrawn" if row["withdrawn"] else row["state"],
            "chunks": row["chunks"],
            "recall": min(row["recall"].values(), default=None),
            "ndcg": row["ndcg"],
            "published": _moment(row["published_at"]),
            "goes": _moment(row["drop_at"])[:10],
        }
        for row in rows
    ]
    built = [
        {
            "generation": row["generation_id"],
            "space": row["space_id"],
            "published by": row["published_by"],
            "differs in": "\n".join(f"{name} {value}" for name, value in row["differs"].items()),
        }
        for row in rows
    ]
    return Group(table("Search generations", shown), table("Built with", built))


def _standing(figures: Mapping[str, Any]) -> Iterator[RenderableType]:
    published = [row for row in figures["generations"] if row["state"] == "published"]
    evaluation = (published[0]["evaluation"] if published else None) or {}
    if evaluation.get("recall"):
        k = evaluation["k"]
        recalls = [
            {"index": name, f"recall@{k} against exact": value}
            for name, value in evaluation["recall"].items()
        ]
        yield table(f"Vector indexes, {evaluation['sampled']} live vectors", recalls)
    if evaluation.get("intervals"):
        rows = [
            {
                "method": method,
                "queries": f"{metrics['queries']:g} {half}",
                **_quality(evaluation, method, half),
            }
            for half in ("tuning", "reporting")
            for method, halves in evaluation["methods"].items()
            if (metrics := halves.get(half))
        ]
        yield table(f"Search, judged queries, first {evaluation['k']} documents", rows)
    if comparison := evaluation.get("comparison"):
        yield Text(f"  {_compared(comparison)}")
    if figures["candidates"]:
        rows = [
            {"family": row["family"], **{name: row["metrics"].get(key) for name, key in _METRICS}}
            for row in figures["candidates"]
        ]
        best_first = sorted(rows, key=lambda row: -(row[_METRICS[0][0]] or 0))
        yield table("Candidates, chosen by validation", best_first)
    if champion := figures["champion"]:
        yield facts(
            "Champion",
            {
                "model": f"{champion['model_name']} {champion['version']} ({champion['family']})",
                "promoted": f"{_moment(champion['created_at'])} by {champion['actor']}",
                "reason": champion["reason"],
            },
        )


def _quality(evaluation: Mapping[str, Any], method: str, half: str) -> dict[str, Any]:
    """The metrics of a method: nDCG with its 95 % interval, the others without."""
    metrics = evaluation["methods"][method][half]
    low, high = evaluation["intervals"][method][half]["ndcg@10"]
    return {
        "ndcg (95 %)": f"{metrics['ndcg@10']:.3f} ({low:.2f} to {high:.2f})",
        **{name.partition("@")[0]: metrics[name] for name in _QUALITY},
    }


def _compared(comparison: Mapping[str, Any]) -> str:
    low, high = comparison["interval"]
    return (
        f"hybrid against {comparison['against']}: nDCG {comparison['difference']:+.3f}"
        f" ({low:+.3f} to {high:+.3f}), {comparison['wins']} better, {comparison['losses']} worse"
    )


def _moment(value: datetime | None) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if value else NOTHING
