"""Documents in, governed models out: a Dagster project on the databases ML teams use."""
