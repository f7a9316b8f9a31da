"""The automation conditions, each named and tested tick by tick."""

from __future__ import annotations

import dagster as dg

ON_NEW_DATA = (
    (
        dg.AutomationCondition.newly_missing() | dg.AutomationCondition.any_deps_updated()
    ).since_last_handled()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("on_new_data")
"""Follow the assets upstream, once per update.

`since_last_handled` is reset by the request itself, so a run that fails is not requested again
until something upstream changes or a person reruns it: retries are bounded by one.
"""
