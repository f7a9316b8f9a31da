"""Who may ask, and how often: keys in PostgreSQL, counters in the online store."""
