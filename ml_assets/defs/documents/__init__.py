"""How Dagster sees the room `documents`."""
