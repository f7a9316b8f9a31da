"""How things stand: collections, generations, quality, candidates, the champion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from ml_assets.console.layout import cell, facts, moment, table

if TYPE_CHECKING:
    from ml_assets.operations.pending import FailedCheck

_METRICS = (
    ("validation F1", "validation_macro_f1"),
    ("test F1", "test_macro_f1"),
    ("accuracy", "test_accuracy"),
    ("log loss", "test_log_loss"),
)
"""Columns of the candidates; F1 is the macro average."""
_COLLECTION = {"collection": "collection", "documents": "documents", "read": "refreshed_at"}
_UNREAD = {"collection": "collection", "since": "failed_at", "reason": "read_error"}
_GENERATION = {
    "generation": "generation_id",
    "state": "state",
    "built": "created_at",
    "published": "published_at",
}
_MOST_DRIFTED = 3
_QUALITY = ("mrr@10", "recall@10", "precision@10", "map@100")


def status(numbers: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Everything `ml-assets status` knows."""
    yield facts(
        f"{numbers['source']} in {numbers['home']}",
        {
            name: numbers[name]
            for name in ("collections", "documents", "tombstones", "rejected", "chunks", "vectors")
        },
    )
    collections = numbers["by_collection"]
    unread = [row for row in collections if row["read_error"]]
    for title, rows, columns in (
        ("Collections", collections, _COLLECTION),
        ("Could not be read, left as they were", unread, _UNREAD),
        ("Search generations", numbers["generations"], _GENERATION),
    ):
        if rows:
            yield table(title, [{name: row[key] for name, key in columns.items()} for row in rows])
    yield from standing(numbers)
    yield Text(f"\n  {_roles(numbers['roles'])}")
    if checks := numbers["checks"]:
        failed = [row for row in checks if not row["passed"]]
        yield facts("Checks", {"passed": len(checks) - len(failed), "failed": len(failed)})
        results = [(row["check"], row["blocks"], row["numbers"]) for row in failed]
        yield from map(Text.from_markup, failed_checks(results))
    if numbers["last_runs"]:
        yield table("Last runs", numbers["last_runs"])


def _roles(roles: Mapping[str, Any]) -> str:
    """What the present actor may do."""
    if not roles["actors"]:
        return "Nobody has a role, so everybody may do everything: see `ml-assets roles`."
    has = f"the role {roles['role']}" if roles["role"] else "no role, and may only look"
    return f"{roles['actor']} has {has}; {roles['actors']:,} actors have one."


def failed_checks(failed: Sequence[FailedCheck]) -> Iterator[str]:
    """One line per failed check, with the numbers it compared."""
    for name, blocking, compared in failed:
        kind = "[red]Blocking check failed[/red]" if blocking else "[yellow]Check failed[/yellow]"
        text = ", ".join(
            f"{key} {cell(value)}"
            for key, value in compared.items()
            if isinstance(value, int | float | str) and "\n" not in str(value)
        )
        yield f"{kind} {name}: {escape(text)}"


def standing(numbers: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The quality of what is published: indexes, methods, candidates, the champion."""
    if measurement := numbers["measurement"]:
        yield from _measured(measurement)
    if numbers["candidates"]:
        rows = [
            {"family": row["family"], **{name: row["metrics"].get(key) for name, key in _METRICS}}
            for row in numbers["candidates"]
        ]
        best_first = sorted(rows, key=lambda row: -(row[_METRICS[0][0]] or 0))
        yield table("Candidates, chosen by validation", best_first)
    for line in numbers.get("left_out", ()):
        yield Text(f"\n  Not trained: {line}")
    if (review := numbers.get("label_review")) and review["in_doubt"]:
        yield Text(
            f"\n  The labels of {review['in_doubt']:,} of {review['documents']:,} documents are in"
            " doubt: `ml-assets errors --labels` shows them."
        )
    if (drift := numbers.get("drift")) and drift["drifted"]:
        yield Text(f"\n  {_drifted(drift)}")
    if champion := numbers["champion"]:
        yield facts(
            "Champion",
            {
                "model": f"{champion['model_name']} {champion['version']} ({champion['family']})",
                "promoted": f"{moment(champion['promoted_at'])} by {champion['actor']}",
                "reason": champion["reason"],
            },
        )
    if challenger := numbers.get("challenger"):
        yield facts("Challenger", describe_challenger(challenger))


def _drifted(drift: Mapping[str, Any]) -> str:
    """One line: what drifted by the last day that was compared, and how it came."""
    found = drift["drifted"]
    shown = [f"{each['summary']} {each['came']}".strip() for each in found[:_MOST_DRIFTED]]
    rest = f"; and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return f"What came until {drift['day']} has drifted: {'; '.join(shown)}{rest}."


def describe_challenger(challenger: Mapping[str, Any]) -> dict[str, object]:
    """Why the version that was registered last is not served, and what would help."""
    return {
        "model": f"version {challenger['version']} ({challenger['family']})",
        "outcome": challenger["outcome"],
        "reason": challenger["reason"],
        "what helps": challenger["do"],
    }


def _measured(measurement: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The recall of the indexes, and the quality of the methods."""
    k, quality = measurement["k"], measurement["quality"]
    recalls = [
        {"index": name, f"recall@{k} against exact": value}
        for name, value in measurement["recall"].items()
    ]
    yield table(f"Vector indexes, {measurement['sampled']} live vectors", recalls)
    rows = [
        {
            "method": method,
            "queries": f"{metrics['queries']:g} {half}",
            "ndcg (95 %)": f"{metrics['ndcg@10']:.3f} ({low:.2f} to {high:.2f})",
            **{name.partition("@")[0]: metrics[name] for name in _QUALITY},
        }
        for half in ("tuning", "reporting")
        for method, halves in quality["methods"].items()
        if (metrics := halves.get(half))
        for low, high in [quality["intervals"][method][half]["ndcg@10"]]
    ]
    if rows:
        yield table(f"Search, judged queries, first {k} documents", rows)
    if compared := quality["comparison"]:
        low, high = compared["interval"]
        yield Text(
            f"  hybrid against {compared['against']}: nDCG {compared['difference']:+.3f}"
            f" ({low:+.3f} to {high:+.3f}), {compared['wins']} better, {compared['losses']} worse"
        )
