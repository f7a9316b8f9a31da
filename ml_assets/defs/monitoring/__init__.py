"""How Dagster sees the room `monitoring`."""
