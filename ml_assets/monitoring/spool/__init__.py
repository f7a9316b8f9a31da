"""The spool: records of the service on their way to ClickHouse, in append-only files of the home.

Not here: what a record means, and who loads it.
"""
