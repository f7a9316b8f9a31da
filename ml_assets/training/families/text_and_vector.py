"""Regression on words, vector and features together."""

from ml_assets.training.families.base import Family
from ml_assets.training.families.linear import fit_linear

FAMILY = Family(
    "text_and_vector_regression",
    fit_linear,
    frozenset({"features", "vector", "text"}),
    {
        "weights": {"features": 0.1, "vector": 2.0, "text": 1.0},
        "scale_vector": False,
        "min_df": 2,
        "C": [2.0, 15.0],
        "max_iter": 100,
    },
)
