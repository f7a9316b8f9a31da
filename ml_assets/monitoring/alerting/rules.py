"""The rules, from one TOML file: that of the setting, or else the one that is shipped.

A file is a person's, and may hold anything: what cannot be used is one line that names rule and
key.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

from ml_assets.errors import SettingError, first_line
from ml_assets.monitoring.alerting.channels import recipient_of
from ml_assets.monitoring.alerting.model import OPERATORS, Rule, Severity
from ml_assets.settings import Settings

SHIPPED = Path(__file__).with_name("rules.toml")

MOST_BYTES = 256 << 10
MOST_RULES = 200
MOST_RECIPIENTS = 20

_KEYS = ("metric", "condition", "over", "for", "severity", "who")
_NEEDED = ("metric", "condition", "severity", "who")
_CONDITION = re.compile(r"\s*(>=|<=|>|<)\s*(\S{1,40})\s*")
_DURATION = re.compile(r"([1-9]\d{0,5}|0)\s*(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=90)
_OVER = "1h"
_SERIES = "p95 of service_latency_ms by route"

HasSpan = Callable[[str], bool | None]
"""Whether the values of a reading are of a span that a rule chooses; None: there is no such."""


def load_rules(settings: Settings, known: Sequence[str], has_span: HasSpan) -> list[Rule]:
    """The rules of this deployment; `known` are readings by name, `has_span` tells of any.

    Raises:
        SettingError: the file cannot be read, or a rule not be used.
    """
    file = settings.alert_rules or SHIPPED
    return [
        _rule(file, name, table, known, has_span, settings) for name, table in _tables(file).items()
    ]


def _tables(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise _refused(file, "", f"it is larger than {MOST_BYTES:,} bytes", "Write fewer rules")
        read = tomllib.loads(content.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(
            file, "", first_line(error), "Write it as docs/monitoring.md shows"
        ) from None
    for name in read:
        if name != "rules":
            do = "Begin each rule with a line [rules.NAME]"
            raise _refused(file, "", f"{name!r} is not known here", do)
    rules = read.get("rules", {})
    if not isinstance(rules, dict) or len(rules) > MOST_RULES:
        do = f"Begin each rule with a line [rules.NAME], at most {MOST_RULES}"
        raise _refused(file, "", "`rules` is not a table of rules", do)
    return rules


def _rule(
    file: Path,
    name: str,
    table: Any,
    known: Sequence[str],
    has_span: HasSpan,
    settings: Settings,
) -> Rule:
    def refuse(key: str, what: str, do: str) -> SettingError:
        return _refused(file, f", rule {name!r}" + (f", {key}" if key else ""), what, do)

    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name):
        raise refuse("", "its name is not one", "Use letters, digits, _ and -, at most 80")
    if not isinstance(table, dict):
        raise refuse("", "it is not a table", f"Begin it with a line [rules.{name}]")
    for key in table:
        if key not in _KEYS:
            raise refuse(f"{key!r:.100}", "it is not known", f"Use {', '.join(_KEYS)}")
    for key in _NEEDED:
        if key not in table:
            raise refuse(key, "it is missing", f"Add a line {key} = …")
    metric, severity = table["metric"], table["severity"]
    spans = has_span(metric) if isinstance(metric, str) else None
    if spans is None:
        do = f"Use one of {', '.join(known)}, or a series, such as {_SERIES!r}"
        raise refuse("metric", f"{metric!r:.100} is not measured", do)
    if severity not in get_args(Severity):
        do = f"Use one of {', '.join(get_args(Severity))}"
        raise refuse("severity", f"{severity!r:.100} is none", do)
    if "over" in table and not spans:
        raise refuse("over", f"a value of {metric} has a span of its own", "Take the line out")
    over = _duration(table, "over", _OVER, refuse)
    if over < timedelta(minutes=1):
        raise refuse("over", "it is less than a minute", "Write a duration such as 15m")
    sign, limit = _condition(table["condition"], refuse)
    return Rule(
        name=name,
        metric=metric,
        operator=sign,
        limit=limit,
        over=over,
        lasting=_duration(table, "for", "0s", refuse),
        severity=severity,
        who=_recipients(table["who"], settings, refuse),
    )


_Refuse = Callable[[str, str, str], SettingError]


def _condition(text: Any, refuse: _Refuse) -> tuple[str, float]:
    found = _CONDITION.fullmatch(text) if isinstance(text, str) else None
    try:
        limit = float(found[2]) if found else math.nan
    except ValueError:
        limit = math.nan
    if not found or not math.isfinite(limit):
        do = f"Write one of {' '.join(OPERATORS)} and a number, such as '> 0.5'"
        raise refuse("condition", f"{text!r:.100} is not a comparison", do)
    return found[1], limit


def duration(text: object, where: str) -> timedelta:
    """A duration such as 15m, of seconds, minutes, hours or days.

    Raises:
        SettingError: it is none, or longer than 90 days.
    """
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    span = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
    if span is None or span > _LONGEST:
        do = f"Write a number and s, m, h or d, such as 15m, up to {_LONGEST.days}d"
        raise SettingError(f"{text!r:.100} is not a duration", where=where, do=do)
    return span


def _duration(table: Mapping[str, Any], key: str, default: str, refuse: _Refuse) -> timedelta:
    try:
        return duration(table.get(key, default), key)
    except SettingError as error:
        raise refuse(key, error.what, error.do) from None


def _recipients(who: Any, settings: Settings, refuse: _Refuse) -> tuple[str, ...]:
    if not isinstance(who, list) or not 0 < len(who) <= MOST_RECIPIENTS:
        do = f"Write 1 to {MOST_RECIPIENTS} of them, such as ['log', 'email:ann@example.org']"
        raise refuse("who", "it is not a list of recipients", do)
    for recipient in who:
        try:
            recipient_of(recipient, settings)
        except SettingError as error:
            raise refuse("who", error.what, error.do) from None
    return tuple(dict.fromkeys(who))


def _refused(file: Path, place: str, what: str, do: str) -> SettingError:
    return SettingError(what, where=f"{file}{place}", do=do)
