"""The assets from training_set to training_metrics, on embedded stores."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from ml_assets.defs.monitoring.assets import experiment_analytics, training_metrics
from ml_assets.defs.monitoring.checks import (
    families_did_not_get_worse,
    training_metrics_are_whole,
)
from ml_assets.defs.registry.assets import champion_model, registered_model
from ml_assets.defs.registry.checks import audit_chain_is_intact, champion_has_earned_it
from ml_assets.defs.resources import MlflowResource, PostgresResource, build_resources
from ml_assets.defs.training import assets as training_assets
from ml_assets.defs.training.assets import candidate_models, label_issues, training_set
from ml_assets.defs.training.checks import (
    a_model_beats_the_baselines,
    labels_are_known,
    labels_are_plausible,
    splits_are_disjoint,
)
from ml_assets.registry.model import MODEL_NAME
from ml_assets.registry.versions import champion
from ml_assets.stores import duckdb, mlflow
from ml_assets.training import candidates, experiments, quality
from ml_assets.training.model import Candidate
from ml_assets_tests.corpus import FAST, Deployment, labelled_documents, unlabelled
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.graph import fake_encoder, shown

ASSETS = [
    training_set,
    candidate_models,
    label_issues,
    registered_model,
    champion_model,
    training_metrics,
    experiment_analytics,
]
CHECKS = [
    labels_are_known,
    splits_are_disjoint,
    a_model_beats_the_baselines,
    labels_are_plausible,
    audit_chain_is_intact,
    champion_has_earned_it,
    training_metrics_are_whole,
    families_did_not_get_worse,
]
Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def run(
    deployment: Deployment, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Materialize the assets, with the fast families and the test's vector space."""
    monkeypatch.setattr(experiments, "FAMILIES", FAST)
    home = str(deployment.settings.home)
    resources = {
        **build_resources(deployment.settings),
        "postgres": PostgresResource(url=postgres_url, home=home, actor="tester"),
        "encoder": fake_encoder(deployment.settings, HashEncoder()),
        "mlflow": MlflowResource(postgres_url=postgres_url, home=home),
    }
    with dg.DagsterInstance.ephemeral() as instance:

        def materialize(*, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
            return dg.materialize(
                [*ASSETS, *CHECKS],
                resources=resources,
                instance=instance,
                raise_on_error=raise_on_error,
            )

        yield materialize


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def passed(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {one.check_name: one.passed for one in result.get_asset_check_evaluations()}


def test_from_labels_to_a_champion_and_then_nothing_to_do(run: Run, deployment: Deployment) -> None:
    deployment.fill(labelled_documents())
    first = run()
    assert passed(first) == {check.check_key.name: True for check in CHECKS}
    assert metadata(first, "training_set")["documents"] == 240
    trained = metadata(first, "candidate_models")
    assert trained["outcome"] == "3 families trained, 0 kept"
    assert str(trained["confusion"]).startswith("![plot](data:image/png;base64,")
    assert len(shown(trained["candidates"]).splitlines()) == 3
    assert metadata(first, "champion_model")["outcome"] == "promoted"
    served = champion(deployment.connection)
    assert served is not None
    assert metadata(first, "champion_model")["version"] == served.version
    assert metadata(first, "training_metrics")["model_performance_points"] == 19
    analytics = metadata(first, "experiment_analytics")
    assert analytics["outcome"] == "3 trainings of 3 families"
    pictures = {name for name, value in analytics.items() if str(value).startswith("![plot]")}
    shown_metrics = ("macro_f1", "log_loss", "fit_seconds", "one_text_p95_ms")
    assert pictures == {"comparison_plot", *(f"plot_{name}" for name in shown_metrics)}
    assert len(shown(analytics["statistics"]).splitlines()) == 3
    assert "| completed | tfidf_baseline | 1 |" in shown(analytics["statistics"])
    assert f"champion → {served.version}" in str(metadata(first, "champion_model")["aliases"])

    # Killed before the alias followed the release, or moved by hand: the next run repairs it.
    mlflow.set_alias(deployment.tracking, MODEL_NAME, "champion", None)
    second = run()
    assert metadata(second, "champion_model")["aliases"] == f"champion → {served.version}"
    aliases = mlflow.read_aliases(deployment.tracking, MODEL_NAME)
    assert aliases["champion"] == served.candidate.served_uri
    outcomes = {one.key.to_user_string(): metadata(second, one.key.path[-1]) for one in ASSETS}
    assert {name: found["outcome"] for name, found in outcomes.items()} == {
        "training_set": "nothing changed, nothing written",
        "candidate_models": "0 families trained, 3 kept",
        "label_issues": "nothing changed, nothing written",
        "registered_model": "nothing changed",
        "champion_model": "nothing changed, already promoted",
        "training_metrics": "nothing to copy",
        "experiment_analytics": "3 trainings of 3 families;"
        " nothing changed since the last pictures",
    }
    assert versions(second) == versions(first)

    deployment.fill(labelled_documents(210))
    third = run()
    assert versions(third)["training_set"] != versions(first)["training_set"]
    assert metadata(third, "candidate_models")["trained_in_this_run"] == 3


def test_what_so_few_documents_cannot_tell_is_a_warning(
    run: Run, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def equal(*asked: Any) -> list[Candidate]:
        score = {"validation_macro_f1": 0.6}
        return [replace(each, metrics=score) for each in experiments.read_candidates(*asked)]

    monkeypatch.setattr(quality, "read_candidates", equal)
    deployment.fill(labelled_documents(120))
    result = run()
    assert result.success
    checks = {each.check_name: each for each in result.get_asset_check_evaluations()}
    told = checks.pop("a_model_beats_the_baselines")
    assert all(each.passed for each in checks.values())
    assert not told.passed
    assert told.severity == dg.AssetCheckSeverity.WARN
    assert "documents a difference is known to" in str(told.metadata["message"].value)
    assert metadata(result, "champion_model")["outcome"] == "promoted"


def versions(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    return {
        one.key.path[-1]: event.tags["dagster/data_version"]
        for one in ASSETS
        for event in result.asset_materializations_for_node(one.key.path[-1])
    }


def test_one_mlflow_run_per_dagster_run_with_a_child_per_family(
    run: Run, deployment: Deployment
) -> None:
    deployment.fill(labelled_documents())
    result = run()
    module = mlflow.activate(deployment.tracking)
    (parent,) = module.search_runs(
        filter_string=f"tags.dagster_run_id = '{result.run_id}'", output_format="list"
    )
    children = module.search_runs(
        filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", output_format="list"
    )
    assert sorted(one.data.tags["family"] for one in children) == sorted(one.name for one in FAST)
    assert {one.info.status for one in [parent, *children]} == {"FINISHED"}
    assert module.active_run() is None


def test_an_error_ends_the_run_as_failed(
    run: Run, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.fill(labelled_documents())
    changed = [replace(labelled_documents()[0], text="w1")]

    def fill_then_train(*args: object, **kwargs: object) -> object:
        # Documents change between the freezing and the training.
        deployment.fill(changed + labelled_documents()[1:])
        return candidates.train_candidates(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(training_assets, "train_candidates", fill_then_train)
    result = run(raise_on_error=False)
    assert not result.success
    module = mlflow.activate(deployment.tracking)
    (parent,) = module.search_runs(
        filter_string=f"tags.dagster_run_id = '{result.run_id}'", output_format="list"
    )
    assert parent.info.status == "FAILED"
    assert module.active_run() is None


def test_a_source_without_labels_ends_quietly(run: Run, deployment: Deployment) -> None:
    deployment.fill(unlabelled(labelled_documents(60)))
    result = run()
    assert result.success
    for asset in (
        *("training_set", "candidate_models", "label_issues"),
        *("registered_model", "champion_model"),
    ):
        outcome = str(metadata(result, asset)["outcome"])
        assert outcome.startswith("nothing to train on: the documents have no labels")
    assert metadata(result, "training_metrics")["outcome"] == "nothing to copy"
    assert all(passed(result).values())
    for table in ("experiments", "model_versions", "releases", "model_audit_logs"):
        row = deployment.connection.execute(f"select count(*) from {table}").fetchone()
        assert row == (0,)
    with duckdb.connect(deployment.settings.duckdb_file) as duck:
        assert duck.execute("select count(*) from training_sets").fetchone() == (0,)


def test_the_definitions_load_without_the_heavy_libraries() -> None:
    code = (
        "import sys, ml_assets.definitions;"
        "heavy = {'mlflow', 'dagster_mlflow', 'sklearn', 'chdb', 'clickhouse_connect', 'skops',"
        " 'matplotlib', 'torch', 'pandas'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
