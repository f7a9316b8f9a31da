"""Assets of the group `features`: definitions, offline values, and their online copy."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date

import dagster as dg
from pydantic import Field

from ml_assets.defs.assets import (
    asset,
    asset_of,
    data_version,
    described,
    plot,
    relation,
    relation_of_duckdb,
    table,
)
from ml_assets.defs.partitions import DAYS
from ml_assets.defs.resources import (
    EncoderResource,
    MlflowResource,
    OfflineStoreResource,
    OnlineStoreResource,
    PostgresResource,
)
from ml_assets.delta import Delta
from ml_assets.features.collections import refresh_collection_features
from ml_assets.features.definition import FeatureView, Source, fingerprint
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.drift.plots import drift_plot
from ml_assets.features.drift.results import DayComparison, how_it_came, write_comparisons
from ml_assets.features.drift.windows import refresh_days
from ml_assets.features.offline import (
    refresh_source,
    rows_left_out,
    statistics,
    values_version,
)
from ml_assets.features.online import refresh_online
from ml_assets.features.registry import page, refresh_definitions
from ml_assets.features.sources.corpus import Corpus
from ml_assets.features.views import VIEWS, views_for
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.progress import StageProgress
from ml_assets.registry.drift import compare_day
from ml_assets.settings import Settings, secret
from ml_assets.stores import duckdb as offline_store
from ml_assets.stores.online.contract import COLUMNS

_MOST_PLOTS = 8
"""Of a day, in the UI: those that drifted most."""


class OnlineConfig(dg.Config):
    """How the online copy is made."""

    anew: bool = Field(
        False, description="write all beside what is read, and let it take its place at once"
    )


@asset(kinds={"postgres"})
def feature_definitions(postgres: PostgresResource) -> dg.MaterializeResult:
    """Rows of `feature_definitions`: the views of the code, every version that there was."""
    with postgres.connect() as connection:
        delta = refresh_definitions(connection)
        shown = relation(connection, "feature_definitions")
    rows = [
        {
            "view": view.name,
            "version": view.version,
            "entity": view.entity,
            "features": len(view.features),
            "uses": ", ".join(sorted(view.uses)),
        }
        for view in VIEWS.values()
    ]
    return dg.MaterializeResult(
        metadata={**asdict(delta), **shown, "outcome": _outcome(delta), "views": table(rows)},
        data_version=data_version(*map(fingerprint, VIEWS.values())),
    )


@asset(kinds={"duckdb"}, deps=["chunks", "embeddings", "feature_definitions"], pool="duckdb")
def document_features(
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """Offline values of `document_text`: a row for each document whose values changed."""
    space_id = encoder.space().space_id
    with (
        postgres.connect() as connection,
        duckdb.get_connection() as duck,
        progress("features") as report,
    ):
        delta = refresh_document_features(connection, duck, space_id, progress=report)
        return _offline_result(duck, DOCUMENT_TEXT, delta, vector_space=space_id)


@asset(kinds={"duckdb"}, deps=["raw_documents", "chunks", "feature_definitions"], pool="duckdb")
def collection_features(
    postgres: PostgresResource, duckdb: OfflineStoreResource
) -> dg.MaterializeResult:
    """Offline values of `collection_activity`: a row for each collection whose values changed."""
    with postgres.connect() as connection, duckdb.get_connection() as duck:
        delta = refresh_collection_features(connection, duck)
        return _offline_result(duck, COLLECTION_ACTIVITY, delta)


def _asset(view: FeatureView, source: Source) -> dg.AssetsDefinition:
    """The asset of a view that names its source."""
    inputs = ["raw_documents", "chunks"] if source.has_own else []

    @asset(
        name=asset_of(view),
        description=page(view),
        kinds={"duckdb"},
        deps=[*inputs, "feature_definitions"],
        pool="duckdb",
    )
    def offline_features(
        settings: dg.ResourceParam[Settings],
        postgres: PostgresResource,
        duckdb: OfflineStoreResource,
    ) -> dg.MaterializeResult:
        with postgres.connect() as connection, duckdb.get_connection() as duck:
            refresh_definitions(connection, [view])  # also where it is materialized alone
            corpus = Corpus(connection, duck, secret(settings.source_url))
            return _offline_result(duck, view, refresh_source(corpus, view))

    return offline_features


VIEW_ASSETS = [_asset(view, view.source) for view in VIEWS.values() if view.source]
"""One for each view that names its source, as those of a user's own do."""


@asset(kinds={"sqlite", "redis"}, deps=[*map(asset_of, views_for("serving"))], pool="duckdb")
def online_features(
    config: OnlineConfig, duckdb: OfflineStoreResource, online_store: OnlineStoreResource
) -> dg.MaterializeResult:
    """Latest values of every live document, collection and other entity, in the online store."""
    views = views_for("serving")
    with duckdb.get_connection() as duck, online_store.connect() as online:
        deltas = {view.key: refresh_online(duck, online, view, anew=config.anew) for view in views}
        versions = [values_version(duck, view) for view in views]
    total = sum(deltas.values(), Delta())
    rows = [{"view": key, **asdict(delta)} for key, delta in deltas.items()]
    shown = described("online_features", COLUMNS.items(), total.total)
    outcome = f"{total.total} rows written anew" if config.anew else _outcome(total)
    return dg.MaterializeResult(
        metadata={**asdict(total), **shown, "outcome": outcome, "views": table(rows)},
        data_version=data_version(versions),
    )


@asset(
    kinds={"duckdb", "scikitlearn"},
    deps=["document_features", "champion_model"],
    partitions_def=DAYS,
    pool="duckdb",
)
def feature_drift(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
    mlflow: MlflowResource,
) -> dg.MaterializeResult:
    """What came until a day, compared with the champion's training set and the days before."""
    space_id, where = encoder.space().space_id, mlflow.tracking
    outcomes: dict[str, dict[str, str]] = {}
    days = [date.fromisoformat(name) for name in context.partition_keys]
    with postgres.connect() as connection, duckdb.get_connection() as duck:
        # Once for all of them: the days that comparisons look at are mostly the same.
        refresh_days(connection, duck, min(days), max(days))
    for day in days:
        name = str(day)
        with postgres.connect() as connection, duckdb.get_connection() as duck:
            compared = compare_day(connection, duck, where, day, space_id, settings.seed)
            write_comparisons(duck, day, compared)
        outcomes[name] = {each.reference: each.comparison.message for each in compared}
        context.add_asset_metadata(_drift_of_day(compared, outcomes[name]), partition_key=name)
    with duckdb.reading() as duck:
        shown = relation_of_duckdb(duck, "feature_drift")
    return dg.MaterializeResult(
        metadata={**shown, "outcome": f"{len(outcomes)} days compared"},
        data_version=data_version(outcomes),
    )


def _drift_of_day(
    compared: Sequence[DayComparison], messages: Mapping[str, str]
) -> dict[str, dg.MetadataValue]:
    """What the UI shows of a day: what was compared, every finding, and a plot of what drifted."""
    came = how_it_came(compared)
    plots = {
        f"plot_{finding.feature}": plot(drift_plot(finding.feature, before, now))
        for finding, _ in came[:_MOST_PLOTS]
        for each in compared
        if finding in each.comparison.findings
        if (before := each.comparison.before.get(finding.feature))
        and (now := each.comparison.now.get(finding.feature))
    }
    references = [
        {
            "reference": each.reference,
            "from": str(each.first_day),
            "outcome": each.comparison.outcome,
            "message": messages[each.reference],
            "rows": each.comparison.current_rows,
            "rows of the reference": each.comparison.reference_rows,
        }
        for each in compared
    ]
    findings = [
        {"reference": each.reference, **asdict(finding)}
        for each in compared
        for finding in each.comparison.findings
    ]
    return {
        "drifted": dg.MetadataValue.int(len(came)),
        "worst": dg.MetadataValue.text(
            "; ".join(f"{each} {how}".strip() for each, how in came[:3])
        ),
        "references": table(references),
        "findings": table(findings),
        **plots,
    }


def _offline_result(
    duck: offline_store.Connection, view: FeatureView, delta: Delta, **more: str
) -> dg.MaterializeResult:
    left_out = rows_left_out(duck, view)
    reasons = [{"reason": reason, "rows": rows} for reason, rows in left_out.items()]
    return dg.MaterializeResult(
        metadata={
            **asdict(delta),
            **relation_of_duckdb(duck, view.table),
            **({"rows_left_out": sum(left_out.values())} if view.source else {}),
            **({"left_out": table(reasons)} if reasons else {}),
            **more,
            "outcome": _outcome(delta),
            "statistics": table(statistics(duck, view)),
        },
        data_version=data_version(fingerprint(view), values_version(duck, view)),
    )


def _outcome(delta: Delta) -> str:
    return f"{delta.touched} rows written" if delta.touched else "nothing changed, nothing written"
