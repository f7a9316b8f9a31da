"""The asset `feature_drift` over a range of days, its check, its plots and its schedule."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import numpy as np
import pytest

from ml_assets.defs import schedules
from ml_assets.defs.features.assets import feature_drift
from ml_assets.defs.features.checks import documents_have_not_drifted
from ml_assets.defs.partitions import DAYS, range_tags
from ml_assets.defs.resources import OfflineStoreResource, PostgresResource
from ml_assets.documents.model import Document
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.drift.plots import drift_plot
from ml_assets.features.drift.summary import summarize_categories, summarize_numbers
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.features.corpus import load_into
from ml_assets_tests.graph import evaluate, shown

FIRST, SECOND = "2026-03-19", "2026-03-20"


def came(day: str, words: int) -> list[Document]:
    """Documents of a day, of about so many words."""
    generator = np.random.default_rng(words)
    return [
        Document(
            f"{day}-{number:03}",
            "all",
            " ".join(f"w{word}" for word in generator.integers(0, 9999, words + number % 4)),
            label=("ham", "spam")[number % 2],
            created_at=datetime.fromisoformat(f"{day}T{number % 24:02}:00:00+00:00"),
        )
        for number in range(210)
    ]


@pytest.fixture
def offline(resources: dict[str, object]) -> OfflineStoreResource:
    found = resources["duckdb"]
    assert isinstance(found, OfflineStoreResource)
    return found


def test_a_range_of_days_is_one_run_and_tells_what_drifted(
    resources: dict[str, object], instance: dg.DagsterInstance, offline: OfflineStoreResource
) -> None:
    asked = documents_have_not_drifted(duckdb=offline)
    assert isinstance(asked, dg.AssetCheckResult)
    assert asked.passed, "no day was looked at"
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    with postgres.connect() as connection, offline.get_connection() as duck:
        load_into(connection, *came(FIRST, 6), *came(SECOND, 12), chunk_tokens=60)
        refresh_document_features(connection, duck, SPACE.space_id)
    result = dg.materialize(
        [feature_drift, documents_have_not_drifted],
        resources=resources,
        instance=instance,
        tags=range_tags(dg.PartitionKeyRange(FIRST, SECOND)),
    )
    by_day = {
        event.partition: event.metadata
        for event in result.asset_materializations_for_node("feature_drift")
    }
    first, second = by_day[FIRST], by_day[SECOND]
    told = f"| 7 days | {FIRST} | nothing to compare | no document came before | 210 | 0 |"
    assert told in shown(first["references"])
    assert "there was no champion" in shown(second["references"])
    assert first["drifted"].value == 0
    assert int(str(second["drifted"].value)) >= 2
    assert "document_text__words" in str(second["worst"].value)
    assert "suddenly" in str(second["worst"].value)
    assert str(second["plot_document_text__words"].value).startswith("![plot](data:image/png")
    assert not [name for name in first if name.startswith("plot_")]
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["day"].value == SECOND
    assert "label" not in str(check.metadata["worst"].value)
    assert float(str(check.metadata["strength"].value)) > 1
    labels = "select sum(rows)::int from feature_statistics where view = 'label'"
    with offline.reading() as duck:
        assert duck.execute(labels).fetchall() == [(420,)]


def test_every_night_the_day_that_ended_is_compared() -> None:
    moment = datetime(2026, 3, 21, 3, 30, tzinfo=UTC)
    context: Any = dg.build_schedule_context(scheduled_execution_time=moment)
    request = evaluate(schedules.daily_drift, context)
    assert request.partition_key == SECOND
    assert DAYS.has_partition_key(SECOND)
    assert DAYS.has_partition_key(f"{datetime.now(UTC):%Y-%m-%d}"), "the present day has one"


def test_plots_show_numbers_and_names() -> None:
    generator = np.random.default_rng(0)
    numbers = [summarize_numbers(generator.normal(mean, 1, 300)) for mean in (0, 1)]
    names = [summarize_categories([*"aab", name] * 50) for name in ("$x$", "c")]
    constant = summarize_numbers(np.ones(300))
    for before, now in (numbers, names, (constant, constant)):
        (axes,) = drift_plot("a $feature$", before, now).axes
        assert axes.get_title() == "a $feature$"
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["before", "now"]
    (axes,) = drift_plot("x", *names).axes
    assert {label.get_text() for label in axes.get_yticklabels()} >= {"$x$", "c"}
