"""Assets of the group `training`: the frozen training set, and a candidate per model family."""

from collections.abc import Mapping
from dataclasses import asdict

import dagster as dg

from ml_assets.defs.assets import (
    NO_TRAINING_SET,
    asset,
    asset_of,
    data_version,
    left_alone,
    nothing_to_train_on,
    plot,
    relation_of_duckdb,
    table,
)
from ml_assets.defs.resources import (
    EncoderResource,
    MlflowResource,
    OfflineStoreResource,
    PostgresResource,
)
from ml_assets.documents.history import Excerpt, read_excerpts
from ml_assets.features.views import views_for
from ml_assets.progress import StageProgress
from ml_assets.settings import Settings
from ml_assets.training.candidates import train_candidates, write_lost_results
from ml_assets.training.experiments import (
    left_out,
    read_candidates,
    trained_elsewhere,
    untrained,
)
from ml_assets.training.labels.issues import LabelIssue
from ml_assets.training.labels.names import labels_alike
from ml_assets.training.labels.review import review_labels
from ml_assets.training.model import SPLITS, Candidate, TrainingSet
from ml_assets.training.plots import confusion_plot, reliability_plot
from ml_assets.training.results import Trained
from ml_assets.training.selection.choice import is_to_refit
from ml_assets.training.training_set import build_training_set, current_training_set, freeze

_MOST_ISSUES = 100
"""Rows of a table in the UI."""


@asset(
    kinds={"duckdb", "postgres"},
    deps=[*map(asset_of, views_for("training")), "embeddings", "raw_documents"],
    pool="duckdb",
)
def training_set(
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
) -> dg.MaterializeResult:
    """Labels joined with the features known at their time, split by group, frozen by its hash."""
    space_id = encoder.space().space_id
    with postgres.connect() as connection, duckdb.get_connection() as duck:
        built = build_training_set(connection, duck, settings, space_id)
        changed = freeze(duck, built)
        shown, same = relation_of_duckdb(duck, "training_sets"), labels_alike(connection)
    return dg.MaterializeResult(
        metadata={
            **shown,
            "outcome": _outcome(built, changed),
            "hash": built.hash or "none",
            "documents": len(built.rows),
            "labels": len(built.labels),
            "unembedded_documents": built.unembedded,
            "vector_space": space_id,
            "feature_views": ", ".join(built.feature_views),
            "splits": table(_splits(built)),
            "labels_left_out": table(
                [{"label": label, "groups": count} for label, count in built.left_out.items()]
            ),
            "labels_alike": table([{"labels": " and ".join(map(repr, each))} for each in same]),
        },
        data_version=data_version("training_set", built.hash),
    )


@asset(kinds={"mlflow", "scikitlearn"}, deps=["training_set"], pool="duckdb")
def candidate_models(
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
    mlflow: MlflowResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """One MLflow run per model family that was not yet trained on the training set."""
    with duckdb.get_connection() as duck:
        current = current_training_set(duck)
    if current is None or not current.hash:
        return nothing_to_train_on(current)
    trained: list[Trained] = []
    with postgres.connect() as connection:
        with duckdb.get_connection() as duck:
            if reason := trained_elsewhere(connection, duck, mlflow.tracking):
                return left_alone(reason)
        limit = settings.training_seconds
        missing = untrained(connection, mlflow.tracking, current, limit)
        if missing or is_to_refit(read_candidates(connection, current.hash)):
            with mlflow.run() as where, progress("training") as report:
                trained = train_candidates(
                    connection,
                    duckdb.get_connection,
                    where,
                    current,
                    missing,
                    report,
                    owner=settings.actor,
                )
        rewritten = write_lost_results(connection, duckdb.get_connection, mlflow.tracking, current)
        candidates = read_candidates(connection, current.hash)
        size = current.hash, len(current.rows), len(current.labels)
        lines = [*left_out(connection, *size, limit).values()]
    return dg.MaterializeResult(
        metadata={
            "outcome": _trained(len(trained), len(candidates) - len(trained), lines),
            "training_set_hash": current.hash,
            "trained_in_this_run": len(trained),
            "results_written_again": rewritten,
            "candidates": table([_summary(each) for each in candidates]),
            "left_out": "; ".join(lines) or "none",
            **_plots(trained),
        },
        data_version=data_version(sorted(each.run_id for each in candidates)),
    )


@asset(kinds={"duckdb", "mlflow"}, deps=["candidate_models"], pool="duckdb")
def label_issues(
    postgres: PostgresResource, duckdb: OfflineStoreResource, mlflow: MlflowResource
) -> dg.MaterializeResult:
    """Documents whose label is probably wrong, and labels that are mistaken for each other."""
    with duckdb.get_connection() as duck:
        current = current_training_set(duck)
    if current is None or not current.hash:
        return nothing_to_train_on(current)
    with postgres.connect() as connection:
        with duckdb.get_connection() as duck:
            if reason := trained_elsewhere(connection, duck, mlflow.tracking):
                return left_alone(reason)
        review, new = review_labels(connection, duckdb.get_connection, mlflow.tracking, current)
        shown = review.issues[:_MOST_ISSUES] if review else ()
        places = read_excerpts(connection, [issue.document_id for issue in shown])
    with duckdb.get_connection() as duck:
        described = relation_of_duckdb(duck, "label_issues")
    if review is None:
        return dg.MaterializeResult(
            metadata={**described, "outcome": "there are no candidates; no label was looked at"}
        )
    return dg.MaterializeResult(
        metadata={
            **described,
            "outcome": "the labels were reviewed" if new else "nothing changed, nothing written",
            "training_set_hash": review.training_set_hash,
            "documents": review.documents,
            "documents_in_doubt": review.doubtful,
            "issues": table([_issue(each, places) for each in shown]),
            "ambiguous_labels": table([asdict(pair) for pair in review.pairs[:_MOST_ISSUES]]),
            "all_of_them": "`ml-assets errors --labels`",
        },
        data_version=data_version(review.issues, review.pairs),
    )


def _issue(issue: LabelIssue, places: Mapping[str, Excerpt]) -> dict[str, object]:
    return {
        "document": issue.document_id,
        "collection": places[issue.document_id].collection if issue.document_id in places else "",
        "label": issue.label,
        "suggested label": issue.suggested,
        "confidence": issue.confidence,
        "why": issue.why,
    }


def _outcome(built: TrainingSet, changed: bool) -> str:
    if not built.hash:
        return f"{NO_TRAINING_SET}: {built.reason}; no rows were written"
    return "a new training set was frozen" if changed else "nothing changed, nothing written"


def _trained(trained: int, kept: int, left_out: list[str]) -> str:
    counts = f"{trained} families trained, {kept} kept"
    return f"{counts}, {len(left_out)} left out ({'; '.join(left_out)})" if left_out else counts


def _splits(built: TrainingSet) -> list[dict[str, object]]:
    columns = {"documents": "document_id", "groups": "group_id", "labels": "label"}
    parts = {split: built.rows[built.rows["split"] == split] for split in SPLITS}
    return [
        {"split": split, **{name: part[column].nunique() for name, column in columns.items()}}
        for split, part in parts.items()
    ]


def _summary(candidate: Candidate) -> dict[str, object]:
    names = ("accuracy", "macro_f1", "log_loss", "calibration_error")
    return {
        "family": candidate.family,
        **{
            f"{split} {name}": candidate.metrics[f"{split}_{name}"]
            for split in ("validation", "test")
            for name in names
        },
        "seconds": candidate.metrics["seconds"],
        "serves": _form(candidate),
        "MLflow run": candidate.run_id,
    }


def _form(candidate: Candidate) -> str:
    """How the candidate serves, if it was chosen."""
    if not candidate.refitted_uri:
        return "no"
    return "by ONNX" if candidate.onnx_sha256 else f"by skops ({candidate.onnx_reason})"


def _plots(trained: list[Trained]) -> dict[str, dg.MetadataValue]:
    """Pictures of the family of this run with the least log loss, on the test split."""
    if not trained:
        return {}
    best = min(trained, key=lambda each: each.candidate.metrics["validation_log_loss"])
    tested = best.evaluations["test"]
    return {
        "plots_show": dg.MetadataValue.text(f"{best.candidate.family} on the test split"),
        "confusion": plot(confusion_plot(tested)),
        "calibration": plot(reliability_plot(tested)),
        "per_label": table([asdict(score) for score in tested.per_label]),
    }
