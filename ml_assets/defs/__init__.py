"""How Dagster sees the rooms; the only room that imports Dagster.

One sub-room per asset group, with its assets and checks, short enough to read at a glance; beside
them resources, partitions, jobs, schedules, sensors. An asset calls its room and reports: SQL,
measuring and deciding belong there.
"""

import warnings

import dagster as dg

# Backfill policies have been "beta" for years; one warning per asset would hide the others.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
