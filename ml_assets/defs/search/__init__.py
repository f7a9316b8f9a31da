"""How Dagster sees the room `search`."""
