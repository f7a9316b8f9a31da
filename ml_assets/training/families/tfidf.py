"""The baseline that sees words alone: TF-IDF of words and pairs of words, and a regression."""

from ml_assets.training.families.base import Family
from ml_assets.training.families.linear import fit_linear

FAMILY = Family(
    "tfidf_baseline",
    fit_linear,
    frozenset({"text"}),
    {"weights": {"text": 1.0}, "min_df": 2, "C": [3.0, 30.0], "max_iter": 100},
    baseline=True,
)
