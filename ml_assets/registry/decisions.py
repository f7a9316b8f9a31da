"""What was decided of the challenger, as the audit log keeps it: for all who tell a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ml_assets.registry.model import ModelVersion
from ml_assets.registry.versions import current_challenger
from ml_assets.releases import audit
from ml_assets.releases.gates import Gate
from ml_assets.releases.pointer import present_parts, withdrawals
from ml_assets.stores import postgres

DECISIONS = ("promote", "refuse", "wait")
"""The actions in the audit log that a decision of a run is."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Why the version that was registered last is not served, and what would help."""

    version: int
    family: str
    outcome: Literal["refused", "waits for approval", "withdrawn"]
    reason: str
    do: str
    decided_at: datetime | None = None

    def __str__(self) -> str:
        """One line, without what helps."""
        return f"version {self.version} {_VERBS[self.outcome]}: {self.reason}"


_VERBS = {
    "refused": "was refused",
    "waits for approval": "waits for approval",
    "withdrawn": "was withdrawn",
}


def challenger_standing(connection: postgres.Connection) -> Standing | None:
    """How the challenger stands; None: there is none, it is served, or nothing was decided."""
    challenger = current_challenger(connection)
    if challenger is None or present_parts(connection).model_version == challenger.version:
        return None
    number, family = challenger.version, challenger.candidate.family
    if withdrawal := withdrawals(connection, "model_version").get(str(number)):
        reason = f"by {withdrawal.actor}, {withdrawal.reason}"
        do = f"Run `ml-assets publish {number} --reason …` to serve it all the same"
        return Standing(number, family, "withdrawn", reason, do)
    entry = last_decision(connection, challenger)
    if entry is None or entry.action == "promote":
        return None
    if entry.action == "wait":
        do = f"Run `ml-assets approve {number} --reason …`"
        return Standing(number, family, "waits for approval", entry.reason, do, entry.logged_at)
    do = "; ".join(dict.fromkeys(gate.do for gate in refusing(read_gates(entry)) if gate.do))
    do = do.replace("VERSION", str(number))
    return Standing(number, family, "refused", entry.reason, do, entry.logged_at)


def last_decision(connection: postgres.Connection, version: ModelVersion) -> audit.Entry | None:
    """The last entry that decided on a version."""
    decided = [entry for entry in entries_of(connection, version) if entry.action in DECISIONS]
    return decided[-1] if decided else None


def entries_of(connection: postgres.Connection, version: ModelVersion) -> list[audit.Entry]:
    """All that the audit log has of a version, the newest last."""
    entries = audit.read_subjects(connection, version.subject)
    return [entry for entry in entries if entry.subject == version.subject]


def read_gates(entry: audit.Entry) -> list[Gate]:
    """The gates that were asked for a decision."""
    return [Gate(**gate) for gate in entry.details.get("gates", ())]


def refusing(gates: Sequence[Gate]) -> list[Gate]:
    """The gates that keep a challenger back: those that block, and those that cannot tell."""
    return [gate for gate in gates if gate.outcome in ("block", "cannot tell")]


def reason_of(gates: Sequence[Gate]) -> str:
    """Why a challenger is refused, or else what it beat, and what warns."""
    told = refusing(gates) or [
        gate for gate in gates if gate.outcome == "warn" or "_beats_" in gate.name
    ]
    return "; ".join(gate.message for gate in told)
