"""One look at all rules: read, note how each alert stands, and tell who is to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ml_assets.errors import UserError
from ml_assets.monitoring.alerting.channels import send
from ml_assets.monitoring.alerting.delivery import Delivered, deliver
from ml_assets.monitoring.alerting.ledger import Changes, record
from ml_assets.monitoring.alerting.model import Rule, Values
from ml_assets.monitoring.alerting.readings import READINGS, Stores, has_span, read
from ml_assets.monitoring.alerting.rules import load_rules
from ml_assets.settings import Settings


@dataclass
class Evaluation:
    """What one look found: alerts that opened or ended, what was told, and what was not read."""

    rules: int
    changes: Changes
    delivered: Delivered
    unread: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line, for a log."""
        opened, ended = self.changes.opened, self.changes.resolved
        told = [f"{self.rules} rules, {len(opened)} alerts opened, {len(ended)} resolved"]
        told += [f"opened {alert.name}" for alert in opened]
        told += [f"rule {name} was not read: {why}" for name, why in self.unread.items()]
        told += [f"{who} was not told: {why}" for who, why in self.delivered.failed.items()]
        return "; ".join(told)


def rules_of(settings: Settings) -> list[Rule]:
    """The rules of this deployment.

    Raises:
        SettingError: their file cannot be used.
    """
    return load_rules(settings, [*READINGS], has_span)


def evaluate(stores: Stores, now: datetime) -> Evaluation:
    """Evaluate every rule, as of `now`. What cannot be read is told, and stays as it was.

    Raises:
        SettingError: the file of the rules cannot be used.
    """
    settings, connection = stores.settings, stores.connection
    rules, values, unread = rules_of(settings), dict[str, Values](), dict[str, str]()
    for rule in rules:
        try:
            values[rule.name] = read(stores, rule, now)
        except UserError as error:
            unread[rule.name] = str(error)
    changes = record(connection, rules, values, settings.actor, now)
    return Evaluation(len(rules), changes, deliver(connection, settings, now, send), unread)
