"""How things look at a prompt: progress, tables, search results."""
