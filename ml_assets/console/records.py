"""What the stores keep: quarantined rows, and the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from ml_assets.console.layout import cell, facts, moment, table

if TYPE_CHECKING:
    from ml_assets.documents.model import Rejected
    from ml_assets.operations.governance.nodes import Lineage, Node
    from ml_assets.releases.audit import Entry


def rejected(rows: Sequence[Rejected], count: int) -> RenderableType:
    """The quarantined rows, by their place in the source."""
    if not rows:
        return Text("No row is quarantined.")
    more = f"{len(rows):,} of {count:,}; --limit shows more" if len(rows) < count else f"{count:,}"
    return table(f"Quarantined rows: {more}", [asdict(row) for row in rows])


def audit(entries: Sequence[Entry]) -> RenderableType:
    """Who did what, when and why, the newest last."""
    if not entries:
        return Text("Nothing was published, promoted, rolled back, granted or dropped yet.")
    shown = [
        {
            "entry": entry.entry_id,
            "when": moment(entry.logged_at),
            "by": entry.actor,
            "from": entry.address,
            "what": f"{entry.action} {entry.subject}",
            "why": entry.reason,
        }
        for entry in entries
    ]
    return table("Audit log", shown)


def lineage(traced: Lineage, most: int = 20) -> Iterator[RenderableType]:
    """What something was made from, and what was made from it; of a long list the first ones."""
    of = traced.of
    yield facts(f"{of.kind} {of.name}", of.facts)
    for title, nodes in (("Made from", traced.made_from), ("Made from it", traced.made_into)):
        rows = [
            {
                "kind": node.kind,
                "name": node.name,
                "known of it": ", ".join(f"{k} {cell(v)}" for k, v in node.facts.items()),
                **({"made of": _made_of(node)} if of.kind == "column" else {}),
            }
            for node in nodes[:most]
        ]
        more = f": {len(rows)} of {len(nodes):,}; --json has all" if len(nodes) > most else ""
        yield table(title + more, rows) if rows else Text(f"\n  {title}: nothing")


def _made_of(node: Node) -> str:
    """The columns of a node by what they are made of, and what decides about it as a whole."""
    by: dict[str, list[str]] = {}
    for column, fields in node.columns.items():
        by.setdefault(", ".join(fields), []).append(column)
    made = [f"{', '.join(columns)} of {of}" for of, columns in by.items()]
    return "; ".join([*made, *(f"as a whole by {field}" for field in node.decided_by)])


def roles(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The roles of actors."""
    if not rows:
        return Text("Nobody has a role, so everybody may do everything.")
    shown = [
        {
            "actor": row["actor"],
            "role": row["role"],
            "since": moment(row["granted_at"]),
            "by": row["granted_by"],
        }
        for row in rows
    ]
    return table("Roles", shown)


def keys(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The API keys, the oldest first."""
    if not rows:
        return Text("No key was made yet: `ml-assets keys create NAME` makes one.")
    times = ("made", "revoked")
    shown = [{**row, **{name: moment(row[name]) for name in times if row[name]}} for row in rows]
    return table("API keys", shown)


def predictions(rows: Sequence[Mapping[str, Any]], waiting: int) -> RenderableType:
    """The last predictions; `waiting`: segments that are not loaded yet."""
    more = f"; {waiting} segments wait to be loaded" if waiting else ""
    if not rows:
        return Text(f"No prediction is loaded{more}.")
    shown = [
        {
            "when": row["at"],
            "request": row["request_id"],
            "text": row["position"],
            "model": f"{row['model']}/{row['version']}",
            "label": row["label"],
            "probability": row["probability"],
            "ms": row["latency_ms"],
        }
        for row in rows
    ]
    return table(f"Predictions{more}", shown)


def performance(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Predictions by day and model version, and how right they were."""
    if not rows:
        return Text("No prediction is loaded.")
    return table("Predictions by day and model version", rows)
