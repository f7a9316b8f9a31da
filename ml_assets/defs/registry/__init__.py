"""How Dagster sees the room `registry`."""
