"""How Dagster sees the rooms; the only room that imports Dagster."""
