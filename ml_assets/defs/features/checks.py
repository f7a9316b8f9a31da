"""Checks of the group `features`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import dagster as dg

from ml_assets.defs.assets import asset_of, check, problems_result, table
from ml_assets.defs.resources import OfflineStoreResource, OnlineStoreResource, PostgresResource
from ml_assets.features.definition import FeatureView
from ml_assets.features.drift.results import how_it_came, read_comparisons
from ml_assets.features.online import SAMPLE, online_differences
from ml_assets.features.quality import (
    LEAKAGE_SKILL,
    altered_values,
    document_coverage,
    follows_from_later,
    label_leakage,
    value_ranges,
)
from ml_assets.features.sources.corpus import Corpus
from ml_assets.features.views import VIEWS, views_for
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.problem import REPAIR, Problem
from ml_assets.settings import Settings, secret


@check(asset="document_features", blocking=True)
def document_features_are_in_range(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
    """Every known value of `document_text` is finite and in its declared range."""
    return _range_result(duckdb, DOCUMENT_TEXT)


@check(asset="collection_features", blocking=True)
def collection_features_are_in_range(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
    """Every known value of `collection_activity` is finite and in its declared range."""
    return _range_result(duckdb, COLLECTION_ACTIVITY)


@check(asset="document_features", blocking=True)
def document_features_are_as_computed(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
    """No value of `document_text`, of now or before, was changed by another hand."""
    with duckdb.get_connection() as duck:
        return problems_result(altered_values(duck, DOCUMENT_TEXT))


@check(asset="collection_features", blocking=True)
def collection_features_are_as_computed(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
    """No value of `collection_activity`, of now or before, was changed by another hand."""
    with duckdb.get_connection() as duck:
        return problems_result(altered_values(duck, COLLECTION_ACTIVITY))


@check(asset="document_features", blocking=True)
def every_document_has_one_row(
    postgres: PostgresResource, duckdb: OfflineStoreResource
) -> dg.AssetCheckResult:
    """Every live document has exactly one current row in each document view, and no other has."""
    views = [view for view in VIEWS.values() if (view.entity, view.source) == ("document", None)]
    with postgres.connect() as connection, duckdb.get_connection() as duck:
        coverages = {view.key: document_coverage(connection, duck, view) for view in views}
    rows = [{"view": key, **asdict(row)} for key, row in coverages.items()]
    wrong = {
        f"{kind}_in_{key}": count
        for key, coverage in coverages.items()
        for kind, count in asdict(coverage).items()
        if kind != "live" and count
    }
    return dg.AssetCheckResult(
        passed=all(coverage.exact for coverage in coverages.values()),
        metadata={"views": table(rows), **wrong, **({"repair": REPAIR} if wrong else {})},
    )


@check(asset="document_features")
def no_feature_gives_the_label_away(
    settings: dg.ResourceParam[Settings], postgres: PostgresResource, duckdb: OfflineStoreResource
) -> dg.AssetCheckResult:
    """No single training feature predicts the label almost perfectly; one that does is named.

    It warns: the label may be what the feature measures, as length is of headlines and articles.
    """
    views = [view for view in (DOCUMENT_TEXT,) if "training" in view.uses]
    return _leakage_result(settings, postgres, duckdb, views)


def _leakage_result(
    settings: Settings,
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
    views: Sequence[FeatureView],
) -> dg.AssetCheckResult:
    with postgres.connect() as connection, duckdb.get_connection() as duck:
        skills = {
            f"{view.name}__{feature}": skill
            for view in views
            for feature, skill in label_leakage(connection, duck, view, settings.seed).items()
        }
    if not skills:
        return dg.AssetCheckResult(
            passed=True, description="fewer than two labels: there is nothing to predict"
        )
    best = max(skills, key=skills.__getitem__)
    return dg.AssetCheckResult(
        passed=skills[best] < LEAKAGE_SKILL,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{best} alone has skill {skills[best]:.3f}; {LEAKAGE_SKILL} is too good",
        metadata={
            "feature": best,
            "skill": skills[best],
            "threshold": LEAKAGE_SKILL,
            "do": "See that the label is not told by it, as by another source or a header;"
            " the model may rest on it alone",
            "skills": table([{"feature": name, "skill": skills[name]} for name in skills]),
        },
    )


@check(asset="online_features", blocking=True)
def online_equals_offline(
    duckdb: OfflineStoreResource,
    online_store: OnlineStoreResource,
    thorough: dg.ResourceParam[bool],
) -> dg.AssetCheckResult:
    """The online store holds the latest offline values of every view, and nothing else.

    Of many entities the values of a random sample are compared; of all in a thorough run.
    """
    with duckdb.get_connection() as duck, online_store.connect() as online:
        differing = {
            view.key: online_differences(duck, online, view, whole=thorough)
            for view in views_for("serving")
        }
    problems = [
        problem
        for key, kinds in differing.items()
        for kind, ids in kinds.items()
        for problem in Problem.of(f"{kind}_in_{key}", ids)
    ]
    compared = "all" if thorough else f"{SAMPLE:,} of a view, at most"
    return problems_result(problems, views=", ".join(differing), values_compared=compared)


@check(asset="feature_drift")
def documents_have_not_drifted(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
    """What came until the last day that was compared is like what came before; it warns.

    The gate `documents_are_as_trained_on` of promotion blocks.
    """
    with duckdb.reading() as duck:
        compared = read_comparisons(duck)
    came = how_it_came(compared)
    told = {each.reference: each.comparison.message for each in compared}
    return dg.AssetCheckResult(
        passed=not came,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{name}: {message}" for name, message in told.items()),
        metadata={
            "drifted": len(came),
            "strength": max((finding.strength for finding, _ in came), default=0.0),
            "limit": 1.0,
            **({"day": str(compared[0].day)} if compared else {}),
            **(
                {
                    "worst": "; ".join(f"{each} {how}".strip() for each, how in came[:3]),
                    "do": "Look at what came on these days; where it is to stay, label some of it"
                    " and train again",
                }
                if came
                else {}
            ),
        },
    )


def _checks(view: FeatureView) -> Iterator[dg.AssetChecksDefinition]:
    """The checks of a view that names its source."""
    name = asset_of(view)

    @check(name=f"{name}_are_in_range", asset=name, blocking=True)
    def in_range(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
        """Every value that has to be is known, and every known one finite and in its range."""
        return _range_result(duckdb, view)

    @check(name=f"{name}_are_as_computed", asset=name, blocking=True)
    def as_computed(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
        """No value, of now or before, was changed by another hand."""
        with duckdb.get_connection() as duck:
            return problems_result(altered_values(duck, view))

    yield from (in_range, as_computed)
    source = view.source
    if "training" in view.uses and source and source.has_own and source.has_history:

        @check(
            name=f"no_row_of_{view.name}_follows_from_later_documents", asset=name, blocking=True
        )
        def no_later(
            settings: dg.ResourceParam[Settings],
            postgres: PostgresResource,
            duckdb: OfflineStoreResource,
        ) -> dg.AssetCheckResult:
            """Every row can be told by the documents and labels that were there at its time.

            At a sample of times the view is computed of these alone.
            """
            with postgres.connect() as connection, duckdb.get_connection() as duck:
                corpus = Corpus(connection, duck, secret(settings.source_url))
                names = follows_from_later(corpus, view)
            result = problems_result(Problem.of("entities_with_rows_of_later_documents", names))
            if result.passed:
                return result
            do = "Give each row the time of the last document in it; its `label_time`, for labels"
            told = {name: each for name, each in result.metadata.items() if name != "repair"}
            return result._replace(metadata={**told, "do": dg.MetadataValue.text(do)})

        yield no_later
    if "training" not in view.uses or view.entity != "document":
        return

    @check(name=f"no_feature_of_{view.name}_gives_the_label_away", asset=name)
    def no_leakage(
        settings: dg.ResourceParam[Settings],
        postgres: PostgresResource,
        duckdb: OfflineStoreResource,
    ) -> dg.AssetCheckResult:
        """No single feature predicts the label almost perfectly; one that does is named."""
        return _leakage_result(settings, postgres, duckdb, [view])

    yield no_leakage


VIEW_CHECKS = [made for view in VIEWS.values() if view.source for made in _checks(view)]


def _range_result(offline: OfflineStoreResource, view: FeatureView) -> dg.AssetCheckResult:
    with offline.get_connection() as duck:
        reports = value_ranges(duck, view)
    return dg.AssetCheckResult(
        passed=all(report.sound for report in reports),
        metadata={"ranges": table([asdict(report) for report in reports])},
    )
