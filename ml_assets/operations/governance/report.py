"""The compliance report of a version: its card, and what governs it, as Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from ml_assets.documents.history import Licence, licences_of
from ml_assets.errors import NothingToDoError, mask_secrets
from ml_assets.features.drift.results import how_it_came, read_comparisons
from ml_assets.operations.governance.lineage import Stores, trace
from ml_assets.operations.governance.nodes import Lineage
from ml_assets.registry.card import facts, table
from ml_assets.registry.cards import read_card
from ml_assets.registry.decisions import entries_of, last_decision, read_gates
from ml_assets.registry.model import ModelVersion
from ml_assets.registry.versions import read_version
from ml_assets.releases import anchor
from ml_assets.releases.audit import Entry
from ml_assets.releases.gates import Gate
from ml_assets.releases.pointer import withdrawals
from ml_assets.releases.roles import read_roles
from ml_assets.settings import secret
from ml_assets.stores import duckdb

_BY_HAND = ("approve", "publish by hand", "promote", "wait", "refuse")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a report tells beside the card, as it was read.

    `drifted`: what differs from the training set by now, a line each; None: nothing was compared.
    `broken`: what is wrong with the audit log, None where it is sound.
    """

    version: ModelVersion
    source: str
    lineage: Lineage
    licences: Sequence[Licence]
    gates: Sequence[Gate]
    entries: Sequence[Entry]
    drifted: Sequence[str] | None
    broken: str | None
    head: anchor.Head | None
    roles: int
    withdrawn: str
    written_at: datetime


def report(stores: Stores, number: int) -> str:
    """The report of a version, in Markdown.

    Raises:
        NothingToDoError: there is no such version, or it is from before cards were written.
    """
    card = read_card(stores.connection, number)
    return as_markdown(card, _read(stores, number))


def as_markdown(card: str, evidence: Evidence) -> str:
    """A report of what was read."""
    version = evidence.version
    title, _, body = card.partition("\n")
    sections = {
        "Sources and licences": _sources(evidence),
        "Lineage": _lineage(evidence.lineage),
        "Gates": _gates(evidence.gates),
        "Decisions and approvals": _entries(
            [entry for entry in evidence.entries if entry.action in _BY_HAND]
        ),
        "Drift": _drift(evidence.drifted),
        "Audit": _audit(evidence),
        "Open risks": _risks(evidence),
    }
    told = "\n".join(f"## {name}\n\n{text}\n" for name, text in sections.items())
    when = f"{evidence.written_at:%Y-%m-%d %H:%M} UTC"
    head = f"# Compliance report: {title.removeprefix('# ')}\n\nWritten {when}"
    return f"{head}, from what the stores had of version {version.version}.\n{body}\n{told}"


def as_html(markdown: str) -> str:
    """One page with everything in it; nothing in it runs, and nothing is loaded."""
    from markdown_it import MarkdownIt

    # Without `html`, what looks like a tag in a name is text.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    title = escape(markdown.partition("\n")[0].removeprefix("# "))
    return _PAGE.format(title=title, body=body)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1d2430; background: #fff; overflow-wrap: anywhere }}
h1 {{ font-size: 1.6rem }}
h2 {{ font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid #ccd }}
table {{ border-collapse: collapse; margin: 1rem 0; font-size: .9rem; display: block;
  overflow-x: auto }}
th, td {{ border: 1px solid #ccd; padding: .25rem .6rem; text-align: left; vertical-align: top;
  min-width: 5.5rem }}
th {{ background: #f2f4f8; overflow-wrap: normal }} code {{ background: #f2f4f8; padding: 0 .2rem }}
@media print {{ body {{ margin: 0; max-width: none }} h2 {{ break-after: avoid }}
  table {{ display: table }} }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def _read(stores: Stores, number: int) -> Evidence:
    connection, settings = stores.connection, stores.settings
    version = read_version(connection, number)
    if version is None:
        raise NothingToDoError(
            f"there is no version {number}", where="report", do="See `ml-assets models list`"
        )
    lineage = trace(stores, "version", str(number))
    decided = last_decision(connection, version)
    withdrawal = withdrawals(connection, "model_version").get(str(number))
    return Evidence(
        version=version,
        source=mask_secrets(settings.source),
        lineage=lineage,
        licences=licences_of(connection, [each.document_id for each in lineage.documents]),
        gates=read_gates(decided) if decided else (),
        entries=entries_of(connection, version),
        drifted=_drifted(stores),
        broken=anchor.verify(
            connection, settings.home, shared=secret(settings.postgres_url) is not None
        ),
        head=anchor.read_head(connection),
        roles=len(read_roles(connection)),
        withdrawn=str(withdrawal) if withdrawal else "",
        written_at=datetime.now(UTC),
    )


def _drifted(stores: Stores) -> list[str] | None:
    file = stores.settings.duckdb_file
    if not file.exists():
        return None
    with duckdb.connect(file, read_only=True) as duck:
        compared = read_comparisons(duck)
    if not compared:
        return None
    return [f"{finding} {how}".strip() for finding, how in how_it_came(compared)]


def _sources(evidence: Evidence) -> str:
    rows = [
        (
            each.licence or "not named by the metadata",
            each.documents,
            f"{each.first:%Y-%m-%d}" if each.first else "-",
            f"{each.last:%Y-%m-%d}" if each.last else "-",
        )
        for each in evidence.licences
    ]
    licences = table(("licence", "documents", "from", "to"), rows)
    return f"{facts({'source, as set now': evidence.source})}\n\n{licences}"


def _lineage(lineage: Lineage) -> str:
    rows = [
        (side, node.kind, node.name, ", ".join(f"{k} {v}" for k, v in node.facts.items()))
        for side, nodes in (("from", lineage.made_from), ("into", lineage.made_into))
        for node in nodes
    ]
    return table(("", "kind", "name", "known of it"), rows)


def _gates(gates: Sequence[Gate]) -> str:
    if not gates:
        return "Nothing was decided of it yet."
    rows = [(gate.name, gate.outcome, gate.message, gate.compared) for gate in gates]
    return table(("gate", "outcome", "message", "numbers"), rows)


def _entries(entries: Sequence[Entry]) -> str:
    if not entries:
        return "None."
    rows = [
        (
            str(entry.entry_id),
            f"{entry.logged_at:%Y-%m-%d %H:%M}",
            entry.actor,
            entry.address or "-",
            entry.action,
            entry.reason,
        )
        for entry in entries
    ]
    return table(("entry", "time", "actor", "from", "action", "reason"), rows)


def _drift(drifted: Sequence[str] | None) -> str:
    if drifted is None:
        return "Nothing was compared with its training set yet."
    return facts({str(place): line for place, line in enumerate(drifted, 1)}) or "None was found."


def _audit(evidence: Evidence) -> str:
    told = evidence.broken or "sound, and as the home kept it"
    known = facts({"the log is": told, "its last entry": str(evidence.head or "none")})
    return f"{known}\n\n{_entries(evidence.entries[-20:])}"


def _risks(evidence: Evidence) -> str:
    risks = [
        f"The gate {gate.name}: {gate.outcome}: {gate.message}"
        for gate in evidence.gates
        if gate.outcome != "pass"
    ]
    if evidence.broken:
        risks.append(f"The audit log was altered: {evidence.broken}")
    if evidence.withdrawn:
        risks.append(f"Version {evidence.withdrawn}")
    if not evidence.roles:
        risks.append("Nobody has a role, so everybody may do everything")
    if evidence.drifted is None:
        risks.append("Drift was never looked at")
    elif evidence.drifted:
        risks.append(f"{len(evidence.drifted)} aspects of the data have drifted")
    if unnamed := sum(each.documents for each in evidence.licences if each.licence is None):
        risks.append(f"The metadata of {unnamed:,} documents name no licence")
    for node in evidence.lineage.made_from:
        if gone := node.facts.get("gone_since"):
            risks.append(f"{gone:,} documents of its training set have left since")
    return facts({str(place): risk for place, risk in enumerate(risks, 1)}) or "None is known."
