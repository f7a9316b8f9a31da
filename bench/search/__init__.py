"""Search under measurement."""
