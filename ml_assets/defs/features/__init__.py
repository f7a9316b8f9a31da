"""How Dagster sees the room `features`."""
