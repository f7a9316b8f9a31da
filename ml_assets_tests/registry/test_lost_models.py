"""Models that are lost, damaged or on another host are told, and replaced."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ml_assets.errors import (
    GateError,
    ModelError,
)
from ml_assets.operations.rollback import roll_back
from ml_assets.registry.promotion import promote_by_hand
from ml_assets.registry.versions import (
    champion,
    current_challenger,
    read_version,
)
from ml_assets.training.experiments import is_stored, untrained
from ml_assets.training.onnx.model import FILE
from ml_assets_tests.corpus import FAST, Deployment, labelled_documents
from ml_assets_tests.registry.deciding import (
    Trained,
    ask,
    decide,
    folder_of,
    register,
)


def test_a_champion_whose_model_is_lost_is_told_and_replaced(second: Trained, models: Path) -> None:
    deployment, _ = second
    reigning, challenger = (
        champion(deployment.connection),
        current_challenger(deployment.connection),
    )
    assert reigning is not None
    assert challenger is not None
    assert not decide(second, promotion_margin=0.9).served
    shutil.rmtree(folder_of(models, reigning))
    with pytest.raises(ModelError, match=r"cannot be loaded .* Run `ml-assets run`"):
        ask(deployment, ["w1"])
    # The refusal was of a champion that answered: now the baselines alone decide.
    decision = decide(second, promotion_margin=0.9)
    assert decision.served
    assert f"the model of champion {reigning.version} is lost" in decision.reason
    assert champion(deployment.connection) == challenger
    ask(deployment, ["w1"])
    with pytest.raises(
        GateError, match=r"version \d+ is not served: its model models:/m-\w+ is lost"
    ):
        roll_back(deployment.connection, deployment.settings, deployment.tracking, "worse")
    assert champion(deployment.connection) == challenger


def test_the_champion_itself_is_trained_again_when_its_model_is_lost(
    deployment: Deployment, models: Path
) -> None:
    deployment.fill(labelled_documents(180))
    training_set = deployment.build()
    deployment.train(training_set)
    given = (deployment, training_set)
    lost = register(given)
    assert decide(given).served
    shutil.rmtree(folder_of(models, lost))
    missing = untrained(deployment.connection, deployment.tracking, training_set)
    assert [family.name for family in missing if family in FAST] == [lost.candidate.family]
    deployment.train(training_set, missing[:1])
    again = register(given)
    assert again.version == lost.version + 1
    assert again.candidate.fingerprint == lost.candidate.fingerprint
    assert again.candidate.model_uri != lost.candidate.model_uri
    assert decide(given).served
    assert champion(deployment.connection) == again
    ask(deployment, ["w1"])
    assert read_version(deployment.connection, lost.version) == lost, "its record stays"


def test_a_model_in_the_home_of_another_host_is_told(second: Trained, tmp_path: Path) -> None:
    """It is not lost: the host that has it answers, and is named what all hosts need."""
    deployment, training_set = second
    connection, settings = deployment.connection, deployment.settings
    there = replace(deployment.tracking, shared=True, artifacts=tmp_path / "another")
    with pytest.raises(ModelError) as caught:
        ask(replace(deployment, tracking=there), ["w1"])
    assert str(caught.value).startswith("MLFLOW_TRACKING_URI is not set: the model models:/m-")
    assert "lies in the home of another host. Ask there, or set it" in str(caught.value)
    challenger = current_challenger(connection)
    assert challenger is not None
    with pytest.raises(GateError, match=r"is not served: its model lies in the home of another"):
        promote_by_hand(
            connection,
            deployment.open_duck,
            there,
            training_set,
            settings,
            challenger.version,
            "better",
        )


@pytest.mark.parametrize("damage", ["cut short", "altered", "onnx gone"])
def test_a_damaged_model_is_lost(first: Trained, models: Path, damage: str) -> None:
    deployment, _ = first
    version = register(first)
    assert is_stored(deployment.tracking, version.candidate)
    folder = folder_of(models, version) / "artifacts"
    skops = folder / "model.skops"
    match damage:
        case "cut short":
            skops.write_bytes(skops.read_bytes()[:-100])
        case "altered":
            onnx = bytearray((folder / FILE).read_bytes())
            onnx[len(onnx) // 2] ^= 1
            (folder / FILE).write_bytes(onnx)
        case _:
            (folder / FILE).unlink()
    assert not is_stored(deployment.tracking, version.candidate)


@pytest.mark.parametrize(
    "name",
    [
        "MLmodel",
        "conda.yaml",
        "requirements.txt",
        "input_example.json",
        "test_confusion.png",
        "out_of_fold.parquet",
    ],
)
@pytest.mark.parametrize("damage", ["altered", "deleted"])
def test_a_model_whose_other_files_are_damaged_is_lost(
    first: Trained, name: str, damage: str
) -> None:
    deployment, _ = first
    version = register(first)
    path, *_ = (path for path in version.candidate.files if path.endswith(f"/{name}"))
    file = deployment.tracking.artifacts and deployment.tracking.artifacts / path
    assert file
    content = file.read_bytes()
    assert is_stored(deployment.tracking, version.candidate)
    try:
        file.write_bytes(content[:-1]) if damage == "altered" else file.unlink()
        assert not is_stored(deployment.tracking, version.candidate)
        of_before = replace(version.candidate, files={})
        assert is_stored(deployment.tracking, of_before), "its files were not hashed then"
    finally:
        file.write_bytes(content)
