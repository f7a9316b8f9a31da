"""Commands of governance: who may, who did it, what depends on what.

A module for each question. A command to forget belongs here, too; erasing itself, in `operations`.
"""

from ml_assets.cli.governance import audit, lineage, report, roles

__all__ = ["audit", "lineage", "report", "roles"]
