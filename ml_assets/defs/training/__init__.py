"""How Dagster sees the room `training`."""
