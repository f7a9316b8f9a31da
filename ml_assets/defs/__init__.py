"""How Dagster sees the rooms; the only room that imports Dagster."""

import warnings

import dagster as dg

# Backfill policies have been "beta" for years; one warning per asset would hide the others.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
