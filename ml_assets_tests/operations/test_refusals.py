"""Each governed action asks for its role before it does anything else, and a refusal is logged."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from ml_assets.defs.executor import MAX_RETRIES_TAG, _InTurn
from ml_assets.errors import RoleError
from ml_assets.operations.repair import forget_damaged
from ml_assets.operations.rollback import roll_back
from ml_assets.registry import promotion
from ml_assets.releases import audit
from ml_assets.releases.roles import grant
from ml_assets.search.publishing.publish import publish_by_hand, publish_measured
from ml_assets.service.admission.keys import create_key, revoke_key
from ml_assets.settings import Settings
from ml_assets.stores import postgres

NONE: Any = None
"""What is not reached."""


def started(connection: postgres.Connection, settings: Settings) -> None:
    """A run of Dagster, whoever launched it; to launch it again would end the same."""
    tags: dict[str, dict[str, str]] = {}
    run: Any = SimpleNamespace(run_id="r", instance=SimpleNamespace(add_run_tags=tags.setdefault))
    try:
        _InTurn(settings, [])._refuse_unentitled(run)
    finally:
        assert tags == {"r": {MAX_RETRIES_TAG: "0"}}


def indexes(settings: Settings) -> Any:
    return SimpleNamespace(settings=settings)


Action = Callable[[postgres.Connection, Settings], object]
GOVERNED: dict[str, Action] = {
    "run": started,
    "repair": lambda _, s: forget_damaged(s, pytest.fail),
    "promote": lambda c, s: promotion.promote(c, NONE, NONE, NONE, s),
    "publish": lambda c, s: publish_measured(c, indexes(s), "g", None, "why"),
    "approve": lambda c, s: promotion.approve(c, NONE, NONE, NONE, s, 1, "why"),
    "rollback": lambda c, s: roll_back(c, s, NONE, "why"),
    "create key": lambda c, s: create_key(c, "door", "viewer", [], s.actor),
    "revoke key": lambda c, s: revoke_key(c, "k", s.actor),
}
BY_HAND: dict[str, Action] = {
    "model": lambda c, s: promotion.promote_by_hand(c, NONE, NONE, NONE, s, 1, "why"),
    "generation": lambda c, s: publish_by_hand(c, indexes(s), "g", "why"),
}


@pytest.mark.parametrize(
    ("action", "act"),
    [*GOVERNED.items(), *(("publish by hand", act) for act in BY_HAND.values())],
)
def test_a_viewer_is_refused_at_once(
    connection: postgres.Connection,
    postgres_url: str,
    settings: Settings,
    action: str,
    act: Action,
) -> None:
    grant(connection, "ann", "admin", "ann")
    grant(connection, "tester", "viewer", "ann")
    given = settings.model_copy(update={"postgres_url": SecretStr(postgres_url)})
    with pytest.raises(RoleError, match=f"'tester' is a viewer, and may not {action}"):
        act(connection, given)
    entry = audit.read_entries(connection, 1)[0]
    assert (entry.actor, entry.action, entry.details) == ("tester", "deny", {"action": action})
