"""Releases: gates, decisions, the pointer to what is served, rollback, retention, the audit log.

The same for whatever is served. This room knows nothing of indexes or models: `search` and
`registry` hand it their parts, with the gates that these passed.
"""
