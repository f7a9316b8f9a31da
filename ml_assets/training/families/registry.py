"""The families that are trained, in their order."""

from ml_assets.training.families import average, inputs, linear, majority, neural_network

FAMILIES = (
    majority.FAMILY,
    linear.TFIDF,
    linear.LOGISTIC_REGRESSION,
    linear.TEXT_AND_VECTOR,
    neural_network.FAMILY,
    average.FAMILY,
)
BASELINES = tuple(family.name for family in FAMILIES if family.baseline)
RETIRED_TYPES = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)
"""Of families that are trained no more (gradient boosting): a champion may be one."""
TRUSTED_TYPES = tuple(
    sorted(
        {*RETIRED_TYPES, *inputs.TYPES, *(name for family in FAMILIES for name in family.trusted)}
    )
)
