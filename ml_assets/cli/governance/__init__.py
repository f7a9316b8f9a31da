"""Commands of governance: who may, who did it, what depends on what.

A module for each question. What is to be forgotten (`ml-assets forget`) belongs here, too; erasing
itself belongs in `operations`.
"""

from ml_assets.cli.governance import audit, lineage, report, roles

__all__ = ["audit", "lineage", "report", "roles"]
