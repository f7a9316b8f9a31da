"""Regression on the features and the vector."""

from ml_assets.training.families.base import Family
from ml_assets.training.families.linear import fit_linear

FAMILY = Family(
    "logistic_regression",
    fit_linear,
    frozenset({"features", "vector"}),
    {"weights": {"features": 1.0, "vector": 1.0}, "C": [0.02, 0.2], "max_iter": 100},
)
