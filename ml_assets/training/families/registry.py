"""The families that are trained, in their order."""

from ml_assets.training.families import gradient_boosting, linear, majority, neural_network

FAMILIES = (
    majority.FAMILY,
    linear.TFIDF,
    linear.LOGISTIC_REGRESSION,
    linear.TEXT_AND_VECTOR,
    gradient_boosting.FAMILY,
    neural_network.FAMILY,
)
BASELINES = tuple(family.name for family in FAMILIES if family.baseline)
TRUSTED_TYPES = tuple(sorted({name for family in FAMILIES for name in family.trusted}))
