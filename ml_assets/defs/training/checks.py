"""Checks of the group `training`."""

import dagster as dg

from ml_assets.defs.assets import check, gate_result, problems_result, table
from ml_assets.defs.resources import OfflineStoreResource, PostgresResource
from ml_assets.problem import Problem
from ml_assets.training.labels.review import MOST_IN_DOUBT, read_review
from ml_assets.training.quality import (
    is_as_frozen,
    straddling_groups,
    unknown_features,
    unknown_labels,
    validation_gate,
    values_from_after,
)
from ml_assets.training.training_set import current_hash


@check(asset="training_set", blocking=True)
def labels_are_known(
    postgres: PostgresResource, duckdb: OfflineStoreResource
) -> dg.AssetCheckResult:
    """Every label is the one its document has, and every label tested on is trained on."""
    with postgres.connect() as connection, duckdb.get_connection() as duck:
        wrong, unseen = unknown_labels(connection, duck)
    return problems_result(
        Problem.of("documents_with_another_label", wrong)
        + Problem.of("labels_not_trained_on", unseen)
    )


@check(asset="training_set", blocking=True)
def training_set_is_as_frozen(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
    """The frozen rows were not changed by another hand."""
    with duckdb.get_connection() as duck:
        problems = [] if is_as_frozen(duck) else Problem.of("altered_sets", [current_hash(duck)])
    return problems_result(problems)


@check(asset="training_set")
def features_are_known(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
    """Every document has features as of the time of its label; unknown ones are counted.

    A document can lack a single one: the length of a word, where it has no word.
    """
    with duckdb.get_connection() as duck:
        unknown = unknown_features(duck)
    without = unknown.pop("", [])
    counts = [{"feature": name, "unknown": len(rows)} for name, rows in unknown.items() if rows]
    result = problems_result(
        Problem.of("documents_without_features", without), dg.AssetCheckSeverity.WARN
    )
    return result._replace(metadata={**result.metadata, "unknown": table(counts)})


@check(asset="training_set", blocking=True)
def no_value_is_of_after_its_document(
    postgres: PostgresResource, duckdb: OfflineStoreResource
) -> dg.AssetCheckResult:
    """What a document has of its author, say, was true, and known, before the document was there.

    So the document itself is in none of it. Where a source does not tell when a row was known, that
    it was true by then has to do.
    """
    with postgres.connect() as connection, duckdb.get_connection() as duck:
        compared = values_from_after(connection, duck)
    result = problems_result(
        [
            problem
            for view, (_, leaking) in compared.items()
            for problem in Problem.of(f"documents_with_later_values_of_{view}", leaking)
        ]
    )
    counts = [{"view": view, "documents": count} for view, (count, _) in compared.items()]
    return result._replace(metadata={**result.metadata, "compared": table(counts)})


@check(asset="training_set", blocking=True)
def splits_are_disjoint(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
    """Every group and every text is in one split only."""
    with duckdb.get_connection() as duck:
        straddling = straddling_groups(duck)
    return problems_result(
        [
            each
            for kind in straddling
            for each in Problem.of(f"{kind}_in_two_splits", straddling[kind])
        ]
    )


@check(asset="label_issues")
def labels_are_plausible(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
    """Of the documents of the training set, few have a label that is probably wrong."""
    with duckdb.get_connection() as duck:
        review, current = read_review(duck), current_hash(duck)
    if review is None or review.training_set_hash != current:
        return dg.AssetCheckResult(passed=True, description="no label was looked at")
    share = review.doubtful / review.documents
    passed, do = share <= MOST_IN_DOUBT, "Look at `ml-assets errors --labels`, and correct them"
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "documents_in_doubt": review.doubtful,
            "documents": review.documents,
            "share": share,
            "limit": MOST_IN_DOUBT,
            **({} if passed else {"do": do}),
        },
    )


@check(asset="candidate_models", blocking=True)
def a_model_beats_the_baselines(
    postgres: PostgresResource, duckdb: OfflineStoreResource
) -> dg.AssetCheckResult:
    """The best candidate has a better macro-F1 on validation than the majority class and TF-IDF.

    What so few documents cannot tell fails as a warning, which does not block.
    """
    with postgres.connect() as connection, duckdb.get_connection() as duck:
        gate = validation_gate(connection, duck)
    if gate is None:
        return dg.AssetCheckResult(
            passed=True, description="there is no training set, and so no candidate"
        )
    return gate_result(gate)
