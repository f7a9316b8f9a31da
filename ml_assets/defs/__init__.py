"""How Dagster sees the rooms: assets, checks, resources, jobs, schedules, sensors.

The only room that imports Dagster.
"""
