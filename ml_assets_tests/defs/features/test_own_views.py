"""Assets and checks of a view of the user's own: they follow from its definition."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from ml_assets.defs.assets import asset_of
from ml_assets.defs.features import assets, checks
from ml_assets.features import Feature, FeatureView, Table
from ml_assets.features.offline import stored_views
from ml_assets.settings import Settings
from ml_assets.stores import duckdb

STARS = FeatureView(
    name="stars",
    version=1,
    entity="author",
    description="What readers think",
    features=(Feature("rating", "double", "mean of the ratings", 0, 5, "stars", "refused"),),
    uses=frozenset({"serving"}),
)


@pytest.fixture
def view(tmp_path: Path) -> FeatureView:
    write(tmp_path, "ann,2026-01-01,4.5\nbob,2026-01-02,3\n,2026-01-02,4")
    return replace(STARS, source=Table(str(tmp_path / "stars.csv"), "author", "at"))


def write(folder: Path, rows: str) -> None:
    (folder / "stars.csv").write_text(f"author,at,rating\n{rows}\n")


def run(
    view: FeatureView, settings: Settings, resources: dict[str, object]
) -> dg.ExecuteInProcessResult:
    assert view.source is not None
    made = [assets._asset(view, view.source), *checks._checks(view)]
    return dg.materialize(made, resources=resources, raise_on_error=False)


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def test_a_table_becomes_an_asset_with_checks(
    view: FeatureView, settings: Settings, resources: dict[str, object], tmp_path: Path
) -> None:
    result = run(view, settings, resources)
    (event,) = result.asset_materializations_for_node("stars_features")
    found = {name: value.value for name, value in event.metadata.items()}
    assert (found["added"], found["outcome"]) == (2, "2 rows written")
    assert found["rows_left_out"] == 1
    assert "it has no key" in str(found["left_out"])
    assert outcomes(result) == {
        "stars_features_are_in_range": True,
        "stars_features_are_as_computed": True,
    }
    # A value out of range, one that has to be known, and one that another hand changed.
    write(tmp_path, "ann,2026-01-01,7\nbob,2026-01-02,")
    with duckdb.connect(settings.duckdb_file) as duck:
        duck.execute(f"update {view.table} set rating = 1 where entity_id = 'bob'")
    result = run(view, settings, resources)
    assert outcomes(result) == {
        "stars_features_are_in_range": False,
        "stars_features_are_as_computed": False,
    }


def test_another_definition_of_a_version_is_refused_and_nothing_is_written(
    view: FeatureView, settings: Settings, resources: dict[str, object]
) -> None:
    assert run(view, settings, resources).success
    changed = replace(view, ttl=timedelta(days=1))
    result = run(changed, settings, resources)
    assert not result.success
    (failed,) = result.filter_events(lambda event: event.is_step_failure)
    assert "still version 1" in str(failed.step_failure_data.error)
    assert run(replace(changed, version=2), settings, resources).success
    with duckdb.connect(settings.duckdb_file) as duck:
        assert stored_views(duck)["stars_v1"] == stored_views(duck)["stars_v2"] == 2


def test_the_asset_says_what_the_view_is(view: FeatureView) -> None:
    assert view.source is not None
    made = assets._asset(view, view.source)
    (spec,) = made.specs
    assert spec.key.path == ["stars_features"] == [asset_of(view)]
    assert spec.group_name == "features"
    assert "| `rating` | double | stars | 0 to 5 | refused |" in (spec.description or "")
    assert {dep.asset_key.path[-1] for dep in spec.deps} == {"feature_definitions"}
    of_documents = replace(view, uses=frozenset({"training"}), entity="document")
    names = [check.check_specs for check in checks._checks(of_documents)]
    assert len(names) == 3
