"""The families that are trained, in their order."""

from ml_assets.training.families import (
    gradient_boosting,
    logistic_regression,
    majority,
    neural_network,
    text_and_vector,
    tfidf,
)

FAMILIES = (
    majority.FAMILY,
    tfidf.FAMILY,
    logistic_regression.FAMILY,
    text_and_vector.FAMILY,
    gradient_boosting.FAMILY,
    neural_network.FAMILY,
)
BASELINES = tuple(family.name for family in FAMILIES if family.baseline)
TRUSTED_TYPES = tuple(sorted({name for family in FAMILIES for name in family.trusted}))
