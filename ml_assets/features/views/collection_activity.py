"""The view `collection_activity`: how large a collection is, and how it has changed."""

from __future__ import annotations

from ml_assets.features.definition import Feature, FeatureView

COLLECTION_ACTIVITY = FeatureView(
    name="collection_activity",
    version=1,
    entity="collection",
    description="How large a collection is and how it has changed",
    features=(
        Feature("document_count", "bigint", "live documents", 0),
        Feature("chunk_count", "bigint", "chunks of the live documents", 0),
        Feature("mean_characters", "double", "mean characters of a document", 1),
        Feature("median_characters", "double", "median characters of a document", 1),
        Feature("label_count", "bigint", "different labels", 0),
        Feature("added", "bigint", "documents added so far, by the change log", 0),
        Feature("changed", "bigint", "documents changed so far", 0),
        Feature("removed_documents", "bigint", "documents removed so far", 0),
    ),
    # Not for training: where the collection is the label, its features give the label away.
    uses=frozenset({"serving", "monitoring"}),
)
