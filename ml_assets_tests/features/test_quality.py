import numpy as np
import pytest

from ml_assets.documents.model import Document
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.quality import (
    LEAKAGE_SKILL,
    Coverage,
    document_coverage,
    label_leakage,
    single_feature_skill,
    value_ranges,
)
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores import duckdb, postgres
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.features.corpus import Load

LABELS = np.repeat(np.arange(25), 40)


def test_a_feature_that_is_the_label_has_full_skill() -> None:
    codes = np.random.default_rng(0).permutation(25).astype(float)
    assert single_feature_skill(codes[LABELS], LABELS) == 1


def test_a_noisy_copy_of_the_label_is_found() -> None:
    noise = np.random.default_rng(0).uniform(0, 0.5, len(LABELS))
    assert single_feature_skill(LABELS + noise, LABELS) >= LEAKAGE_SKILL


def test_noise_has_no_skill() -> None:
    noise = np.random.default_rng(0).standard_normal(len(LABELS))
    assert single_feature_skill(noise, LABELS) < 0.05


def test_a_useful_feature_is_no_leak() -> None:
    noise = np.random.default_rng(0).standard_normal(len(LABELS))
    assert 0.05 < single_feature_skill(LABELS + 3 * noise, LABELS) < LEAKAGE_SKILL


def test_being_unknown_can_give_a_label_away() -> None:
    values = np.where(np.arange(200) < 100, np.nan, 1.0)
    assert single_feature_skill(values, np.repeat([0, 1], 100)) == 1


@pytest.mark.parametrize("count", [1, 3, 50])
def test_one_label_is_nothing_to_predict(count: int) -> None:
    assert single_feature_skill(np.arange(count, dtype=float), np.zeros(count, np.intp)) == 0


def test_skill_is_against_the_commonest_label() -> None:
    # 90 of 100 have one label; guessing it is no skill.
    labels = np.repeat([0, 1], [90, 10])
    assert single_feature_skill(np.ones(100), labels) == 0


def labelled(count: int, label: str | None = "") -> list[Document]:
    words = ["short", "word " * 9]
    return [
        Document(f"d{n}", "a", words[n % 2] + f" {n}", label=str(n % 2) if label == "" else label)
        for n in range(count)
    ]


def test_leakage_of_real_features(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(*labelled(60))
    refresh_document_features(connection, duck, SPACE.space_id)
    skills = label_leakage(connection, duck, DOCUMENT_TEXT)
    assert list(skills) == list(DOCUMENT_TEXT.columns)
    assert skills["words"] == 1
    assert skills["nearest_distance"] < LEAKAGE_SKILL


@pytest.mark.parametrize("label", [None, "only"])
def test_without_two_labels_there_is_nothing_to_leak(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load, label: str | None
) -> None:
    load(*labelled(6, label))
    refresh_document_features(connection, duck, SPACE.space_id)
    assert label_leakage(connection, duck, DOCUMENT_TEXT) == {}


def test_ranges(connection: postgres.Connection, duck: duckdb.Connection, load: Load) -> None:
    load(*labelled(4))
    refresh_document_features(connection, duck, SPACE.space_id)
    reports = {report.feature: report for report in value_ranges(duck, DOCUMENT_TEXT)}
    assert list(reports) == list(DOCUMENT_TEXT.columns)
    assert all(report.sound and report.values == 4 for report in reports.values())
    duck.execute(
        f"update {DOCUMENT_TEXT.table} set digit_share = case entity_id when 'd0' then 1.5"
        " when 'd1' then -0.5 when 'd2' then 'nan'::double end"
    )
    (report,) = [r for r in value_ranges(duck, DOCUMENT_TEXT) if r.feature == "digit_share"]
    assert (report.values, report.unknown) == (3, 1)
    assert (report.not_finite, report.below, report.above, report.sound) == (1, 1, 1, False)


def test_coverage(connection: postgres.Connection, duck: duckdb.Connection, load: Load) -> None:
    load(*labelled(4))
    refresh_document_features(connection, duck, SPACE.space_id)
    assert document_coverage(connection, duck, DOCUMENT_TEXT) == Coverage(4, 0, 0, 0)
    table = DOCUMENT_TEXT.table
    duck.execute(f"delete from {table} where entity_id = 'd0'")
    duck.execute(f"insert into {table} from {table} where entity_id = 'd1'")
    connection.execute("update documents set deleted_at = now() where document_id = 'd2'")
    found = document_coverage(connection, duck, DOCUMENT_TEXT)
    assert found == Coverage(live=3, without_row=1, with_several=1, not_live=1)
    assert not found.exact
