"""The kinds of source that a view can have, a module each; nobody outside asks which one it is.

Each stages what it gives in the temporary table `staged`, in one form. What is then stored of it
belongs in `features.offline` and `features.history`.
"""

from ml_assets.features.sources.function import Function
from ml_assets.features.sources.query import Query
from ml_assets.features.sources.table import Table

__all__ = ["Function", "Query", "Table"]
