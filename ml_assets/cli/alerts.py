"""Commands of alerts: what is open, evaluating, silencing, resolving, and whom it would be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated
from uuid import uuid4

import typer

from ml_assets.cli.app import Json, app, command, connected, out, reading, show
from ml_assets.errors import ChannelError, NothingToDoError, UserError
from ml_assets.settings import load_settings

alerts = typer.Typer(
    no_args_is_help=True,
    help="Show the alerts that are open, evaluate their rules, silence and resolve them.",
)
app.add_typer(alerts, name="alerts")

Name = Annotated[str, typer.Argument(help="An open alert: rule, or rule/subject.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the history.")]


def _of_alerts(name: str) -> Callable[[Callable[..., None]], None]:
    return partial(command, group=alerts, name=name)


@_of_alerts("list")
def list_alerts(as_json: Json = False) -> None:
    """Show the alerts that are open, the most severe first, and who could not be told yet."""
    from ml_assets.console import alerts as shown
    from ml_assets.monitoring.alerting.delivery import waiting_deliveries
    from ml_assets.monitoring.alerting.ledger import read_open

    with reading() as (_, connection):
        opened, waiting = read_open(connection), waiting_deliveries(connection)
    now = datetime.now(UTC)
    value = {"open": [asdict(alert) for alert in opened], "waiting": waiting}
    show(value, lambda: shown.alerts(opened, waiting, now), as_json=as_json)


@_of_alerts("rules")
def list_rules(as_json: Json = False) -> None:
    """Show the rules of this deployment, and say where one cannot be used."""
    from ml_assets.console import alerts as shown
    from ml_assets.monitoring.alerting.evaluation import rules_of

    rules = rules_of(load_settings())
    show([asdict(rule) for rule in rules], lambda: shown.rules(rules), as_json=as_json)


@_of_alerts("evaluate")
def evaluate_rules() -> None:
    """Evaluate all rules now, and tell what is to be told, as `alerts_sensor` does each minute."""
    from ml_assets.defs.instance import open_instance
    from ml_assets.defs.monitoring.alerting import opened_stores
    from ml_assets.monitoring.alerting.evaluation import evaluate

    settings = load_settings()
    with open_instance(settings) as instance, opened_stores(instance, settings) as stores:
        found = evaluate(stores, datetime.now(UTC))
    out.print(str(found), highlight=False, markup=False, soft_wrap=True)


@_of_alerts("silence")
def silence_alert(
    name: Name,
    reason: Reason,
    lasting: Annotated[str, typer.Option("--for", help="For how long: 30m, 2h, 1d.")] = "2h",
) -> None:
    """Tell nobody of an open alert for a while, and let it hold nothing back."""
    from ml_assets.monitoring.alerting.ledger import silence
    from ml_assets.monitoring.alerting.rules import duration

    span, now = duration(lasting, "--for"), datetime.now(UTC)
    with connected() as (settings, connection):
        silenced = silence(connection, name, span, settings.actor, reason, now)
    for alert in silenced:
        out.print(
            f"{alert.name} is silenced until {now + span:%Y-%m-%d %H:%M} UTC.", highlight=False
        )


@_of_alerts("resolve")
def resolve_alert(name: Name, reason: Reason) -> None:
    """Close an open alert by hand; it opens again once its condition has ceased and come back."""
    from ml_assets.monitoring.alerting.ledger import resolve

    with connected() as (settings, connection):
        closed = resolve(connection, name, settings.actor, reason, datetime.now(UTC))
    for alert in closed:
        out.print(f"{alert.name} is resolved.", highlight=False)


@_of_alerts("test")
def tell_recipients(
    recipient: Annotated[
        str, typer.Argument(help="Such as log, email:ann@example.org; all of the rules, if none.")
    ] = "",
) -> None:
    """Send a message to a recipient, or to all that the rules name, and say who has it."""
    from ml_assets.monitoring.alerting.channels import send
    from ml_assets.monitoring.alerting.evaluation import rules_of
    from ml_assets.monitoring.alerting.model import Message

    settings = load_settings()
    named = [recipient] if recipient else [who for rule in rules_of(settings) for who in rule.who]
    if not named:
        raise NothingToDoError("no rule names a recipient", where="alerts", do="Add a rule")
    failed = []
    for who in dict.fromkeys(named):
        text = f"test: {settings.actor} asks whether this arrives"
        now = datetime.now(UTC)
        message = Message(str(uuid4()), "test", "test", "", "info", now, 0.0, text)
        try:
            send(message, who, settings)
            out.print(f"{who}: sent", highlight=False, markup=False)
        except ChannelError as error:
            failed.append(who)
            out.print(f"{who}: {error}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        do = "Each line above says why"
        raise UserError(f"{len(failed)} of {len(dict.fromkeys(named))} were not told", do=do)
