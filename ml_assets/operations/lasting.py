"""Which checks may fail in a run that is finished all the same."""

from __future__ import annotations

from collections.abc import Sequence

from ml_assets.operations.pending import FailedCheck
from ml_assets.registry.gates import GATES, PASSING

LASTING_WARNINGS = {
    "rows_were_readable",
    "hybrid_is_compared_with_published",
    "indexes_beside_are_as_good",
    "a_model_beats_the_baselines",
    "no_feature_gives_the_label_away",
    "features_are_known",
    *(gate.__name__ for gate in GATES if gate.__name__ not in PASSING),
    "labels_are_plausible",
    "no_prediction_is_missing",
    "nothing_is_extraordinary",
}
"""Checks that fail again on the same documents and settings, whatever a run does: a run that ended
with them is finished, and they are told again. Of others, as of a worn index, a run takes care."""


def is_finish(failed: Sequence[FailedCheck]) -> bool:
    """Whether a run whose steps ended well has nothing to do again, these failed checks included.

    Until then a run on the same documents is a whole one: it may pass what failed.
    """
    return all(not blocks and name in LASTING_WARNINGS for name, blocks, _ in failed)
