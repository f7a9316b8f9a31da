"""The check that no value of an author is of after the document, passing and failing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml_assets.defs.resources import OfflineStoreResource, PostgresResource
from ml_assets.defs.training.checks import no_value_is_of_after_its_document
from ml_assets.features import Feature, FeatureView, Table
from ml_assets.features.offline import refresh_source
from ml_assets.features.sources.corpus import Corpus
from ml_assets.features.views import VIEWS
from ml_assets.training.training_set import freeze
from ml_assets_tests.corpus import Deployment, labelled_documents
from ml_assets_tests.features.own_views import WRITTEN

START = datetime(2026, 1, 1, tzinfo=UTC)
RATED = FeatureView(
    "rated",
    1,
    "author",
    "How an author is rated, which is corrected later",
    (Feature("rating", "double", "stars"),),
    frozenset({"training"}),
)


def test_no_value_is_of_after_its_document(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        (f"{START:%F}", 1, f"{START:%F}"),
        (f"{START:%F}", 2, f"{START + timedelta(days=20):%F}"),
    ]
    lines = "".join(
        f"{author},{at},{stars},{known}\n" for author in "01234" for at, stars, known in rows
    )
    (tmp_path / "ratings.csv").write_text(f"author,at,rating,known\n{lines}")
    rated = replace(RATED, source=Table(str(tmp_path / "ratings.csv"), "author", "at", "known"))
    for view in (rated, WRITTEN):
        monkeypatch.setitem(VIEWS, view.name, view)
    deployment.fill(
        [
            replace(
                one, metadata={"author": number % 5}, created_at=START + timedelta(days=number // 3)
            )
            for number, one in enumerate(labelled_documents(90))
        ]
    )
    with deployment.open_duck() as duck:
        for view in (rated, WRITTEN):
            refresh_source(Corpus(deployment.connection, duck), view)
    built = deployment.build()
    info = deployment.connection.info
    url = f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}"
    postgres = PostgresResource(url=url, home=str(deployment.settings.home), actor="tester")
    offline = OfflineStoreResource(database=str(deployment.settings.duckdb_file))

    def check(**changed: object) -> dict[str, object]:
        """Freeze the set with other values of the document of the tenth day, and look at it."""
        values = built.rows.set_index("document_id")
        for name, value in changed.items():
            values.loc["document-0030", name] = value
        with deployment.open_duck() as duck:
            freeze(duck, replace(built, hash=repr(changed), rows=values.reset_index()))
        result = no_value_is_of_after_its_document(postgres=postgres, duckdb=offline)
        found = {name: value.value for name, value in result.metadata.items()}
        assert result.passed is not any(name.startswith("documents_with") for name in found)
        return found

    assert "{'view': 'rated', 'documents': 90}" in str(check()["compared"])
    own = built.rows.set_index("document_id").loc["document-0030"]
    # What is true of the author with the document itself: one more, a few days after the last.
    itself = check(written__documents=own["written__documents"] + 1)
    assert itself["documents_with_later_values_of_written"] == 1
    assert itself["examples"] == "document-0030"
    # The correction, which was known ten days after the document was there.
    assert own["rated__rating"] == 1
    corrected = check(rated__rating=2.0)
    assert corrected["documents_with_later_values_of_rated"] == 1
    assert "documents_with_later_values_of_written" not in corrected
    assert not check(rated__rating=None, written__documents=None, written__days=None).get(
        "examples"
    )
