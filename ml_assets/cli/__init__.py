"""The command `ml-assets`: one function per command, from options to a call and its output.

Computing belongs in the room that owns the subject, the look of tables in `console`.
"""

from ml_assets.cli import (
    alerts,
    backup,
    features,
    governance,
    models,
    monitoring,
    pipeline,
    queries,
    records,
    releases,
    service,
)
from ml_assets.cli.app import app

__all__ = [
    "alerts",
    "app",
    "backup",
    "features",
    "governance",
    "models",
    "monitoring",
    "pipeline",
    "queries",
    "records",
    "releases",
    "service",
]
