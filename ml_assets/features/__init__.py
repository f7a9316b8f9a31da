"""Features: views, values in two times, the point-in-time join, the online copy.

Definitions and how values are computed, compared and joined. Labels and splits belong in
`training`; the databases themselves in `stores`.
"""

from ml_assets.features.definition import Feature, FeatureView
from ml_assets.features.sources import Function, Query, Table

__all__ = ["Feature", "FeatureView", "Function", "Query", "Table"]
