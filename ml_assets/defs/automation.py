"""The automation conditions, each named and tested tick by tick."""

from __future__ import annotations

import dagster as dg

_AT_REST = ~dg.AutomationCondition.any_deps_in_progress() & ~dg.AutomationCondition.in_progress()

ON_NEW_DATA = (
    (
        dg.AutomationCondition.newly_missing() | dg.AutomationCondition.any_deps_updated()
    ).since_last_handled()
    & ~dg.AutomationCondition.any_deps_missing()
    & _AT_REST
).with_label("on_new_data")
"""Follow the assets upstream, once per update.

`since_last_handled` is reset by the request itself, so a run that fails is not requested again
until something upstream changes or a person reruns it: retries are bounded by one.
"""

_WEAK_INDEX = dg.AutomationCondition.asset_matches(
    "search_evaluation",
    dg.AutomationCondition.any_checks_match(dg.AutomationCondition.check_failed()).allow(
        dg.AssetSelection.checks(
            dg.AssetCheckKey(dg.AssetKey("search_evaluation"), "indexes_are_not_worn")
        )
    ),
)

ON_NEW_DATA_OR_WEAR = (ON_NEW_DATA | (_WEAK_INDEX.newly_true() & _AT_REST)).with_label(
    "on_new_data_or_wear"
)
"""Also when the check `indexes_are_not_worn` fails: the asset builds a worn index anew.

Only when the check turns from passed to failed, so that an index which building anew does not mend
is not built again and again.
"""
