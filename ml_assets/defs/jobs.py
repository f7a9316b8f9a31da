"""The jobs: documents to vectors, vectors to a published search, features to a champion."""

from __future__ import annotations

import dagster as dg

from ml_assets.defs.assets import key

refresh_documents = dg.define_asset_job(
    "refresh_documents",
    selection=dg.AssetSelection.groups("documents", "embeddings"),
    description="Read the given collections, and chunk and embed what changed.",
)

check_documents = dg.define_asset_job(
    "check_documents",
    selection=dg.AssetSelection.checks_for_assets(
        key("raw_documents"), key("chunks"), key("embeddings")
    ),
    description="Check documents, chunks and vectors as they stand; nothing is read or written.",
)

rebuild_search = dg.define_asset_job(
    "rebuild_search",
    selection=dg.AssetSelection.groups("search"),
    description="Bring the indexes up to date, measure them, and publish.",
)

_DRIFT = dg.AssetSelection.assets(key("feature_drift"))
_PREDICTIONS = dg.AssetSelection.assets(
    *map(
        key,
        ("prediction_log", "model_performance_hourly", "model_performance_daily", "anomalies"),
    )
)
_SEARCH = dg.AssetSelection.assets(key("search_quality_daily"))
_METRICS = dg.AssetSelection.assets(key("metric_points"))
_ALERTS = dg.AssetSelection.assets(key("alerts"))
_BY_DAY = _DRIFT | _PREDICTIONS | _SEARCH | _METRICS | _ALERTS
"""By day, as nothing else that a run brings up to date: Dagster wants one partitioning of a job."""

train_models = dg.define_asset_job(
    "train_models",
    selection=dg.AssetSelection.groups("features", "training", "registry", "monitoring") - _BY_DAY,
    description="Compute features, train the candidates, and promote one that earned it.",
)

everything = dg.define_asset_job(
    "everything",
    selection=dg.AssetSelection.all() - _BY_DAY,
    description="The whole lineage, from the given collections to the champion.",
)

watch_drift = dg.define_asset_job(
    "watch_drift",
    selection=_DRIFT | _METRICS | _ALERTS,
    description="Compare what came until a day with the days before and the training set; tell it.",
)

load_predictions = dg.define_asset_job(
    "load_predictions",
    selection=_PREDICTIONS | _METRICS | _ALERTS,
    description="Load what the service predicted, and was told of it; find and tell what is amiss.",
)

watch_search = dg.define_asset_job(
    "watch_search",
    selection=_SEARCH | _METRICS,
    description="Keep how good and how fast search was on a day, and what was trained and read.",
)

JOBS = [
    refresh_documents,
    check_documents,
    rebuild_search,
    train_models,
    everything,
    watch_drift,
    load_predictions,
    watch_search,
]
