"""What a person rolled back from is served again by a person alone."""

from dataclasses import replace

import pytest

from ml_assets.errors import (
    FeatureViewError,
    GateError,
    NothingToDoError,
)
from ml_assets.operations.rollback import roll_back
from ml_assets.registry.promotion import promote_by_hand
from ml_assets.registry.versions import (
    champion,
    current_challenger,
)
from ml_assets.releases import audit, pointer
from ml_assets.releases.gates import Decision
from ml_assets_tests.registry.deciding import (
    Trained,
    alias,
    ask,
    decide,
    let_the_champion_score,
    register,
)


def test_what_a_person_rolled_back_from_no_run_promotes(
    second: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model and its feature views go back; a person promotes it again, past the gates."""
    deployment, training_set = second
    connection, settings = deployment.connection, deployment.settings
    reigning, challenger = champion(connection), current_challenger(connection)
    assert reigning is not None
    assert challenger is not None
    with monkeypatch.context() as patched:
        let_the_champion_score(0.0, deployment, patched)
        assert decide(second).served
    target = roll_back(connection, settings, deployment.tracking, "it insults people")
    assert target.parts.model_version == reigning.version
    assert champion(connection) == reigning
    assert alias(deployment, "champion") == reigning.candidate.served_uri
    again = decide(second)
    assert (again.served, again.changed) == (False, False)
    assert again.reason == (
        f"version {challenger.version} was withdrawn by tester: it insults people"
    )

    def by_hand(margin: float) -> Decision:
        chosen = settings.model_copy(update={"promotion_margin": margin})
        number, reason = challenger.version, "retaught"
        return promote_by_hand(
            connection,
            deployment.open_duck,
            deployment.tracking,
            training_set,
            chosen,
            number,
            reason,
        )

    with monkeypatch.context() as patched:
        let_the_champion_score(0.4, deployment, patched)
        with pytest.raises(GateError, match="is not promoted: challenger_beats_the_champion"):
            by_hand(0.9)
    assert by_hand(0.0).served
    assert champion(connection) == challenger
    assert pointer.withdrawals(connection, "model_version") == {}
    assert not by_hand(0.0).changed
    with pytest.raises(NothingToDoError, match="there is no version 10000"):
        promote_by_hand(
            connection,
            deployment.open_duck,
            deployment.tracking,
            training_set,
            settings,
            10_000,
            "typo",
        )


def test_a_model_that_was_withdrawn_stays_so_when_its_documents_come_back(
    second: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rolled back from, then other documents, then the same again: the run has its one version."""
    deployment, before = second
    connection, settings = deployment.connection, deployment.settings
    withdrawn = current_challenger(connection)
    assert withdrawn is not None
    with monkeypatch.context() as patched:
        let_the_champion_score(0.0, deployment, patched)
        assert decide(second).served
    roll_back(connection, settings, deployment.tracking, "it insults people")
    other = replace(before, hash="another")
    connection.execute(
        "insert into experiments (run_id, name, description, owner, status, ended_at,"
        " training_set_hash, family, fingerprint, metrics, model_uri)"
        " select 'other', name, description, owner, status, ended_at, 'another', family,"
        " fingerprint, metrics, model_uri from experiments where run_id = %s",
        [withdrawn.candidate.run_id],
    )
    later = register((deployment, other))
    assert later.version == withdrawn.version + 1
    assert register(second) == current_challenger(connection) == withdrawn
    assert alias(deployment, "challenger") == withdrawn.candidate.served_uri
    with monkeypatch.context() as patched:
        let_the_champion_score(0.0, deployment, patched)
        again = decide(second)
    assert (again.served, again.changed) == (False, False)
    assert again.reason == f"version {withdrawn.version} was withdrawn by tester: it insults people"


def test_a_model_whose_feature_views_are_gone_is_not_rolled_back_to(
    second: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = second
    connection = deployment.connection
    reigning = champion(connection)
    assert reigning is not None
    with monkeypatch.context() as patched:
        let_the_champion_score(0.0, deployment, patched)
        assert decide(second).served
    connection.execute(
        'update model_versions set feature_views = \'{"old_v1": ""}\' where version = %s',
        [reigning.version],
    )
    before = pointer.present_release(connection)
    with pytest.raises(FeatureViewError, match="old_v1"):
        roll_back(connection, deployment.settings, deployment.tracking, "worse")
    assert pointer.present_release(connection) == before


def test_a_rollback_before_the_first_champion_leaves_none(first: Trained) -> None:
    deployment, _ = first
    entry = audit.Entry("ann", "publish", "search_generation:a", "first")
    pointer.publish(deployment.connection, lambda parts: replace(parts, generation_id="a"), entry)
    version = register(first)
    assert decide(first).served
    parts = pointer.present_parts(deployment.connection)
    assert (parts.generation_id, parts.model_version) == ("a", version.version)
    roll_back(deployment.connection, deployment.settings, deployment.tracking, "too early")
    assert pointer.present_parts(deployment.connection) == pointer.Parts(generation_id="a")
    assert champion(deployment.connection) is None
    assert alias(deployment, "champion") is None
    with pytest.raises(NothingToDoError, match=f"`ml-assets publish {version.version} --reason"):
        ask(deployment, ["w1"])
