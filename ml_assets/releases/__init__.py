"""Releases: gates, the pointer to what is served, rollback, retention, and the audit log.

It knows nothing of what it serves: parts come from the rooms above, with their gates.
How a search generation is measured or a model is trained does not belong here.
"""
