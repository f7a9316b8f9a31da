"""How Dagster sees the room `embeddings`."""
