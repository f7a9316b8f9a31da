"""The values of the feature views for fixed documents, bound to the versions of the views."""

from ml_assets.documents.model import Document
from ml_assets.features.collections import refresh_collection_features
from ml_assets.features.definition import FeatureView
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.offline import current_rows
from ml_assets.features.views import VIEWS
from ml_assets.stores import duckdb, postgres
from ml_assets_tests import golden
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.features.corpus import DOCUMENTS, Load


def values(duck: duckdb.Connection, view: FeatureView) -> dict[str, list[object]]:
    columns = ", ".join(view.columns)
    rows = duck.execute(f"select entity_id, {columns} from ({current_rows(view)}) order by 1")
    return {row[0]: list(row[1:]) for row in rows.fetchall()}


def test_golden_values(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(*DOCUMENTS, Document("gone", "b", "Gone."))
    load(*DOCUMENTS)
    refresh_document_features(connection, duck, SPACE.space_id)
    refresh_collection_features(connection, duck)
    for name, view in VIEWS.items():
        golden.check(f"{name}.version", view.version, values(duck, view), tolerance=1e-5)
