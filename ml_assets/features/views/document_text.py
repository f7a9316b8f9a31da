"""The view `document_text`: what can be told of a text, and how much like others it is."""

from __future__ import annotations

from ml_assets.features.definition import Feature, FeatureView

DOCUMENT_TEXT = FeatureView(
    name="document_text",
    version=2,
    entity="document",
    description="How long, varied, technical and readable a document is, and how much like others",
    features=(
        Feature("characters", "bigint", "characters of title and text", 1),
        Feature("words", "bigint", "runs of letters, apostrophes and hyphens inside kept", 0),
        Feature("sentences", "bigint", "stretches ended by . ! ? or an empty line", 0),
        Feature("mean_word_length", "double", "letters per word", 1),
        Feature("lexical_diversity", "double", "moving-average type-token ratio, 50 words", 0, 1),
        Feature("code_share", "double", "share of the non-empty lines that look like code", 0, 1),
        Feature("digit_share", "double", "share of the characters that are digits", 0, 1),
        Feature("punctuation_share", "double", "share of punctuation and symbols", 0, 1),
        Feature("reading_ease", "double", "Flesch reading ease; higher is easier", None, 121.23),
        Feature("nearest_distance", "double", "1 - cosine to the nearest other document", 0, 2),
    ),
    uses=frozenset({"training", "serving", "monitoring"}),
)
