"""Who may ask, and how often: connections, keys in PostgreSQL, counters in the online store."""
