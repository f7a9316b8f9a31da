"""Alerts in PostgreSQL: what is told once, in which order, and what a kill or a failure leaves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from ml_assets.errors import ChannelError, NothingToDoError
from ml_assets.monitoring.alerting.delivery import deliver, waiting_deliveries
from ml_assets.monitoring.alerting.ledger import (
    Changes,
    read_alerts,
    read_events,
    read_open,
    record,
    resolve,
    silence,
)
from ml_assets.monitoring.alerting.model import Message, Rule
from ml_assets.releases.holds import holding_alerts
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets_tests.monitoring.alerting.examples import HOUR, MINUTE, NOW, RULE, at, rule

HIGH, LOW = 900.0, 100.0
SETTINGS = load_settings(home=Path("/nowhere"))


class Recipients:
    """What a channel was told; the recipients that are `away` fail."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.away: set[str] = set()
        self.ids: list[str] = []

    def send(self, message: Message, recipient: str, _: Settings) -> None:
        if recipient in self.away:
            raise ChannelError("it is away", where=recipient, do="Wait")
        self.told.append((recipient, message.kind, message.rule))
        self.ids.append(message.delivery_id)


@pytest.fixture
def recipients() -> Recipients:
    return Recipients()


def look(
    connection: postgres.Connection,
    minute: float,
    value: float,
    rules: Sequence[Rule] = (RULE,),
    subject: str = "a",
) -> Changes:
    values = {each.name: {subject: [at(minute, value)]} for each in rules}
    return record(connection, rules, values, "tester", NOW + minute * MINUTE)


def tell(connection: postgres.Connection, recipients: Recipients, minute: float) -> int:
    return deliver(connection, SETTINGS, NOW + minute * MINUTE, recipients.send).count


def test_it_is_told_once_that_it_opened_and_once_that_it_ended(
    connection: postgres.Connection, recipients: Recipients
) -> None:
    both = (rule(who=("log", "email:ann@example.org")),)
    for minute in range(3):
        changes = look(connection, minute, HIGH, both)
        assert [alert.name for alert in changes.opened] == ["model_is_slow/a"][: minute == 0]
        assert tell(connection, recipients, minute) == (2 if minute == 0 else 0)
    assert [alert.name for alert in read_open(connection)] == ["model_is_slow/a"]
    for minute in range(3, 6):
        changes = look(connection, minute, LOW, both)
        assert len(changes.resolved) == (minute == 3)
        assert tell(connection, recipients, minute) == (2 if minute == 3 else 0)
    assert read_open(connection) == []
    assert recipients.told == [
        (who, kind, "model_is_slow")
        for kind in ("opened", "resolved")
        for who in ("email:ann@example.org", "log")
    ]
    assert len(set(recipients.ids)) == 4
    events = read_events(connection, NOW, NOW + HOUR)
    assert [(each["kind"], each["told"], each["recipients"]) for each in events] == [
        ("opened", 2, 2),
        ("resolved", 2, 2),
    ]
    assert events[0]["message"] == (
        "warning: model_is_slow/a: p95_ms 900 is > 500 since 2026-03-05 12:00 UTC"
    )
    assert events[1]["message"] == "resolved: model_is_slow/a"
    assert read_events(connection, NOW + HOUR, NOW + 2 * HOUR) == []
    look(connection, 7, HIGH, both)
    assert tell(connection, recipients, 7) == 2


def test_subjects_are_alerts_of_their_own_and_the_severest_come_first(
    connection: postgres.Connection,
) -> None:
    look(connection, 0, HIGH, subject="b")
    look(connection, 0, HIGH, subject="a")
    look(connection, 0, HIGH, [RULE, rule(name="z", severity="critical")], subject="a")
    names = [alert.name for alert in read_open(connection)]
    assert names == ["z/a", "model_is_slow/a", "model_is_slow/b"]


def test_a_channel_that_fails_is_tried_again_under_the_same_id_and_in_order(
    connection: postgres.Connection, recipients: Recipients
) -> None:
    both = (rule(who=("log", "slack")),)
    recipients.away = {"slack"}
    look(connection, 0, HIGH, both)
    assert tell(connection, recipients, 0) == 1
    (waiting,) = waiting_deliveries(connection)
    assert (waiting["recipient"], waiting["waiting"], waiting["attempts"]) == ("slack", 1, 1)
    assert waiting["error"] == "slack: it is away. Wait"
    look(connection, 0.1, LOW, both)
    # The end is told to who can be told; the other one hears of the beginning first.
    assert tell(connection, recipients, 0.1) == 1
    assert recipients.told == [
        ("log", "opened", "model_is_slow"),
        ("log", "resolved", "model_is_slow"),
    ]
    recipients.away = set()
    assert tell(connection, recipients, 0.4) == 0, "30 s are waited for"
    assert tell(connection, recipients, 0.6) == 2
    assert recipients.told[2:] == [
        ("slack", "opened", "model_is_slow"),
        ("slack", "resolved", "model_is_slow"),
    ]
    assert waiting_deliveries(connection) == []


def test_pauses_double_up_to_an_hour_and_a_server_may_ask_for_more(
    connection: postgres.Connection, recipients: Recipients
) -> None:
    look(connection, 0, HIGH)
    recipients.away = {"log"}
    minutes, tried = 0.0, []
    for _ in range(10):
        failed = deliver(connection, SETTINGS, NOW + minutes * MINUTE, recipients.send).failed
        assert failed == {"log": "log: it is away. Wait"}
        (due,) = connection.execute("select due_at from alert_deliveries").fetchone() or ()
        tried.append((due - NOW) / MINUTE - minutes)
        minutes = (due - NOW) / MINUTE
    assert tried == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60])

    def busy(*_: object) -> None:
        raise ChannelError("it answers 429", do="Wait", pause=7200.0)

    deliver(connection, SETTINGS, NOW + minutes * MINUTE, busy)
    (due,) = connection.execute("select due_at from alert_deliveries").fetchone() or ()
    assert (due - NOW) / MINUTE - minutes == pytest.approx(120)


def test_what_is_killed_while_it_sends_is_sent_again_under_the_same_id(
    connection: postgres.Connection, recipients: Recipients
) -> None:
    look(connection, 0, HIGH)

    def killed(message: Message, recipient: str, settings: Settings) -> None:
        recipients.send(message, recipient, settings)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver(connection, SETTINGS, NOW, killed)
    assert tell(connection, recipients, 0) == 1
    first, again = recipients.ids
    assert first == again


def test_what_is_killed_while_it_notes_has_noted_nothing(
    connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_assets.monitoring.alerting import ledger

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        look(connection, 0, HIGH)
    monkeypatch.undo()
    assert read_alerts(connection) == []
    assert read_events(connection, NOW - HOUR, NOW + HOUR) == []
    assert waiting_deliveries(connection) == []
    assert len(look(connection, 1, HIGH).opened) == 1


def test_two_who_deliver_tell_it_once(
    connection: postgres.Connection, postgres_url: str, recipients: Recipients
) -> None:
    look(connection, 0, HIGH)
    with postgres.connect(postgres_url, Path()) as other:

        def meanwhile(message: Message, recipient: str, settings: Settings) -> None:
            assert tell(other, recipients, 0) == 0
            recipients.send(message, recipient, settings)

        assert deliver(connection, SETTINGS, NOW, meanwhile).count == 1
    assert len(recipients.told) == 1


def test_a_silence_is_kept_and_what_is_still_open_after_it_is_told(
    connection: postgres.Connection, recipients: Recipients
) -> None:
    critical = (rule(severity="critical"),)
    look(connection, 0, HIGH, critical)
    assert tell(connection, recipients, 0) == 1
    assert holding_alerts(connection) == ("model_is_slow/a",)
    look(connection, 1, LOW, critical)
    look(connection, 2, HIGH, critical)
    (alert,) = silence(connection, "model_is_slow", HOUR, "ann", "known", NOW + 2 * MINUTE)
    assert alert.silenced_until == NOW + 2 * MINUTE + HOUR
    tell(connection, recipients, 2)
    recipients.told.clear()

    look(connection, 3, LOW, critical)  # whoever heard that it opened hears that it ended
    look(connection, 4, HIGH, critical)
    tell(connection, recipients, 4)
    assert [kind for _, kind, _ in recipients.told] == ["resolved"]
    look(connection, 63, HIGH, critical)
    tell(connection, recipients, 63)
    assert [kind for _, kind, _ in recipients.told] == ["resolved", "opened"]
    kinds = [(each["kind"], each["actor"]) for each in read_events(connection, NOW, NOW + 2 * HOUR)]
    assert ("silenced", "ann") in kinds
    assert [kind for kind, _ in kinds].count("opened") == 3


def test_who_was_not_told_that_it_opened_is_not_told_that_it_ended(
    connection: postgres.Connection, recipients: Recipients
) -> None:
    look(connection, 0, HIGH)
    look(connection, 1, LOW)
    tell(connection, recipients, 1)
    look(connection, 2, HIGH)
    silence(connection, "model_is_slow/a", HOUR, "ann", "known", NOW + 2 * MINUTE)
    look(connection, 3, LOW)
    tell(connection, recipients, 3)
    recipients.told.clear()
    look(connection, 4, HIGH)
    look(connection, 5, LOW)
    assert tell(connection, recipients, 5) == 0


def test_a_silenced_alert_holds_nothing_back(connection: postgres.Connection) -> None:
    """By the clock of the database: what is published is decided there."""
    for severity in ("info", "warning", "critical"):
        look(connection, 0, HIGH, (rule(name=severity, severity=severity),), subject="")
    assert holding_alerts(connection) == ("critical",)
    silence(connection, "critical", HOUR, "ann", "known", datetime.now(UTC))
    assert holding_alerts(connection) == ()
    connection.execute("update alerts set silenced_until = now() - interval '1 second'")
    assert holding_alerts(connection) == ("critical",)


def test_what_a_person_resolves_is_closed_and_told(
    connection: postgres.Connection, recipients: Recipients
) -> None:
    look(connection, 0, HIGH)
    tell(connection, recipients, 0)
    (closed,) = resolve(connection, "model_is_slow", "ann", "a new model serves", NOW + MINUTE)
    assert closed.name == "model_is_slow/a"
    assert read_open(connection) == []
    tell(connection, recipients, 1)
    (_, event) = read_events(connection, NOW, NOW + HOUR)
    assert event["message"] == "resolved: model_is_slow/a (a new model serves)"
    assert (event["actor"], event["told"]) == ("ann", 1)
    assert not look(connection, 2, HIGH).opened
    look(connection, 3, LOW)
    assert look(connection, 4, HIGH).opened


def test_an_alert_whose_rule_is_gone_is_resolved_and_told_to_who_knew(
    connection: postgres.Connection, recipients: Recipients
) -> None:
    look(connection, 0, HIGH, (rule(who=("slack",)),))
    changes = look(connection, 1, HIGH, ())
    assert [alert.name for alert in changes.resolved] == ["model_is_slow/a"]
    tell(connection, recipients, 1)
    assert recipients.told == [
        ("slack", "opened", "model_is_slow"),
        ("slack", "resolved", "model_is_slow"),
    ]
    assert look(connection, 2, HIGH, ()).resolved == []


def test_a_rule_that_was_not_read_leaves_its_alerts(connection: postgres.Connection) -> None:
    look(connection, 0, HIGH)
    changes = record(connection, (RULE,), {}, "tester", NOW + HOUR)
    assert (changes.opened, changes.resolved) == ([], [])
    assert len(read_open(connection)) == 1


def test_only_what_is_open_can_be_silenced_or_resolved(connection: postgres.Connection) -> None:
    for call in (
        lambda: silence(connection, "x", HOUR, "ann", "", NOW),
        lambda: resolve(connection, "x", "ann", "", NOW),
    ):
        with pytest.raises(NothingToDoError, match="alerts: no alert 'x' is open"):
            call()


def test_the_history_is_append_only(connection: postgres.Connection) -> None:
    look(connection, 0, HIGH)
    for change in ("update alert_events set actor = 'x'", "delete from alert_events"):
        with pytest.raises(psycopg.errors.RaiseException, match="alert_events is append-only"):
            connection.execute(change)
