"""What travels within the room: rules, points in time, alerts, and what is told of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

Severity = Literal["info", "warning", "critical"]
Kind = Literal["opened", "resolved", "silenced", "test"]

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class Point(NamedTuple):
    """A value, and the time that it is of: the same twice where it is of a moment."""

    begin: datetime
    end: datetime
    value: float


Values: TypeAlias = Mapping[str, Sequence[Point]]
"""The points of a reading by subject: a model, say. The subject "" is the whole deployment."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on a reading that is told to somebody when it holds for so long.

    `over`: the span of time that one value is of, where the reading is of spans.
    """

    name: str
    metric: str
    operator: str
    limit: float
    over: timedelta
    lasting: timedelta
    severity: Severity
    who: tuple[str, ...]

    def matches(self, value: float) -> bool:
        """Whether the condition holds for a value."""
        return OPERATORS[self.operator](value, self.limit)

    @property
    def condition(self) -> str:
        """The condition, as the file has it."""
        return f"{self.operator} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Alert:
    """How a rule stands for a subject.

    matching: whether its condition held at the last look; `since` and `until` are the span of that.
    opened_at: None: it is not open.
    dismissed: a person resolved it, and it does not open before its condition has ceased.
    told_at: when somebody was told last that it is open; None: nobody, or also that it ended.
    """

    rule: str
    subject: str
    severity: Severity
    matching: bool
    since: datetime
    until: datetime
    value: float
    opened_at: datetime | None = None
    dismissed: bool = False
    silenced_until: datetime | None = None
    told_at: datetime | None = None
    resolved_at: datetime | None = None

    @property
    def name(self) -> str:
        """Rule and subject, as a person names it."""
        return f"{self.rule}/{self.subject}" if self.subject else self.rule

    def is_silenced(self, now: datetime) -> bool:
        """Whether a person asked not to hear of it now."""
        return self.silenced_until is not None and self.silenced_until > now


@dataclass(frozen=True, slots=True)
class Message:
    """What is told to one recipient. `delivery_id` is the same each time that it is tried."""

    delivery_id: str
    kind: Kind
    rule: str
    subject: str
    severity: Severity
    at: datetime
    value: float
    text: str

    def as_json(self) -> dict[str, str | float]:
        """It, as files and webhooks have it."""
        return {
            "id": self.delivery_id,
            "type": f"alert.{self.kind}",
            "timestamp": self.at.astimezone(UTC).isoformat(),
            "rule": self.rule,
            "subject": self.subject,
            "severity": self.severity,
            "value": self.value,
            "message": self.text,
        }
