"""What sets FAISS apart: product codes that are trained, files that change as one, an extra."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_assets.delta import Delta
from ml_assets.embeddings.quantization import uint8_rows, unit
from ml_assets.errors import DamagedStoreError, SettingError, StoreError
from ml_assets.search.evaluation.exact import recall_against_exact
from ml_assets.search.filters.language import NO_FILTER, Among, Filter
from ml_assets.search.indexes.faiss import codes
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.indexes.kinds import altered_entries, forget_altered, sync_index
from ml_assets.search.indexes.wear import measure_wear
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.choices import CHOICES
from ml_assets_tests.search.corpus import Doc, fill, generation_of, ids, put, remove


@pytest.fixture
def generation(connection: postgres.Connection, settings: Settings) -> Generation:
    return generation_of(connection, settings.model_copy(update=CHOICES["faiss ivfpq"]))


@pytest.fixture
def index(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> FaissIndex:
    """Trained from 260 rows on, with a list for every twenty."""
    monkeypatch.setattr("ml_assets.search.indexes.faiss.codes.TRAINS_FROM", 260)
    monkeypatch.setattr("ml_assets.search.indexes.sizing._ROWS_OF_A_LIST", 20)
    return FaissIndex(settings.faiss_folder, generation)


def docs(start: int, stop: int, collection: str = "a") -> dict[str, Doc]:
    return {f"d{n}": Doc((f"text {n}",), collection=collection) for n in range(start, stop)}


def lists(index: FaissIndex) -> int:
    """The lists of the index; none while it is flat."""
    with index._reading() as (_, opened):
        return int(getattr(opened, "nlist", 0))


def files(settings: Settings) -> list[Path]:
    return sorted(settings.faiss_folder.glob("*/*.faiss*"))


def nearest(index: FaissIndex, text: str, k: int, filters: Filter = NO_FILTER) -> list[str]:
    return list(index.query(HashEncoder().encode([text])[0], k, filters).chunk_ids)


def test_product_codes_are_trained_when_there_are_rows_and_again_when_they_grew(
    connection: postgres.Connection, index: FaissIndex
) -> None:
    fill(connection, docs(0, 200))
    sync_index(connection, index)
    assert lists(index) == 0
    fill(connection, docs(200, 300))
    assert sync_index(connection, index).delta == Delta(added=100, unchanged=200)
    assert lists(index) == 15
    fill(connection, docs(300, 1000))
    sync_index(connection, index)
    assert lists(index) == 15
    fill(connection, docs(1000, 1300))
    sync_index(connection, index)
    assert lists(index) == 36  # √1300; 15 are too few for 1300 / 4 rows
    assert index.size() == 1300
    assert nearest(index, "text 7", 1) == ["d7#0"]


@pytest.mark.parametrize("step", [200, 400])
def test_lists_are_trained_anew_when_churn_left_few_that_they_were_trained_on(
    connection: postgres.Connection, generation: Generation, index: FaissIndex, step: int
) -> None:
    """Every chunk is replaced, by halves or at once: nothing is left worn, and nothing is lost."""
    fill(connection, docs(0, 400))
    sync_index(connection, index)
    fresh = recall_against_exact(connection, generation, {"faiss": index})
    for start in range(0, 400, step):
        remove(connection, *docs(start, start + step))
        fill(connection, docs(start + 400, start + 400 + step))
        sync_index(connection, index)
    assert "faiss" not in {one.index for one in measure_wear(connection, generation, {})}
    found = recall_against_exact(connection, generation, {"faiss": index})
    assert found.recall["faiss"] >= fresh.recall["faiss"] - 0.05, (fresh, found)
    assert found.reached["faiss"] >= fresh.reached["faiss"] - 0.01


def test_a_rare_collection_is_found_in_every_list(
    connection: postgres.Connection, index: FaissIndex
) -> None:
    fill(connection, {**docs(0, 300), **docs(300, 305, "rare")})
    sync_index(connection, index)
    rare = Among([f"d{n}#0" for n in range(300, 305)])
    found = index.query(HashEncoder().encode(["text 7"])[0], 10, rare)
    assert set(found.chunk_ids) == {f"d{n}#0" for n in range(300, 305)}
    assert found.exhausted
    assert len(nearest(index, "text 7", 5, rare)) == 5


def test_a_second_try_keeps_to_the_chunks_that_pass(
    connection: postgres.Connection, index: FaissIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one reads a single list, in which there are too few of them."""
    fill(connection, docs(0, 300))
    sync_index(connection, index)
    monkeypatch.setattr("ml_assets.search.indexes.faiss.codes.probes_of", lambda *_: 1)
    passing = [f"d{n}#0" for n in range(0, 300, 30)]
    assert lists(index) > 1
    assert set(nearest(index, "text 7", 10, Among(passing))) == set(passing)
    assert len(nearest(index, "text 7", 100)) == 100


@pytest.mark.parametrize(
    ("count", "damage"),
    [(20, "other"), (300, "other"), (300, "row"), (20, "lost"), (300, "lost")],
)
def test_a_vector_that_another_hand_changed_is_told_and_written_again(
    connection: postgres.Connection, index: FaissIndex, count: int, damage: str
) -> None:
    """In well-formed files, flat or of product codes, of as many entries as before."""
    fill(connection, docs(0, count))
    sync_index(connection, index)
    assert (lists(index) > 0) == (count == 300)
    assert altered_entries(connection, index) == []
    with index._changing() as (rows, opened):
        number = codes.numbers_of(rows, "sqlite/faiss/numbers", ["d7#0"])
        if damage == "row":
            other = "(select vector from entries where chunk_id = 'd8#0')"
            rows.execute(f"update entries set vector = {other} where chunk_id = 'd7#0'")
        else:
            opened.remove_ids(number)
            vector, kept = HashEncoder().encode(["text 8"]), number if damage == "other" else [999]
            opened.add_with_ids(vector, np.asarray(kept, dtype=np.int64))
    index.set_mark(index.mark())
    index.close()
    assert altered_entries(connection, index) == ["d7#0"]
    if damage != "lost":
        forget_altered(connection, index)
        index.close()
        assert sync_index(connection, index).delta == Delta(changed=1, unchanged=count - 1)
        assert altered_entries(connection, index) == []
        assert nearest(index, "text 7", 1) == ["d7#0"]


@pytest.mark.parametrize("count", [20, 300])
def test_a_vector_that_was_moved_a_little_is_told(
    connection: postgres.Connection, index: FaissIndex, count: int
) -> None:
    """Four times as far as rounding would move it, or to the nearest of other product codes."""
    fill(connection, docs(0, count))
    sync_index(connection, index)
    vector, other = HashEncoder().encode(["text 7", "text 8"])

    def errors(opened: Any, moved: Any) -> tuple[float, float]:
        if not lists(index):
            return float(((moved - vector) ** 2).sum()), 1e-6
        own, others = opened.sa_decode(opened.sa_encode(np.stack([vector, moved])))
        bound = 2 * ((own - vector) ** 2).sum() + 0.01
        return float(((others - vector) ** 2).sum()), float(bound)

    with index._changing() as (rows, opened):
        number = codes.numbers_of(rows, "sqlite/faiss/numbers", ["d7#0"])
        for share in 0.001 * 1.05 ** np.arange(150):
            moved = unit([vector + share * (other - vector)])
            distance, bound = errors(opened, moved[0])
            if distance > 2 * bound:
                break
        assert bound < distance < (100 if lists(index) else 4) * bound
        opened.remove_ids(number)
        opened.add_with_ids(moved, number)
    index.set_mark(index.mark())
    index.close()
    assert altered_entries(connection, index) == ["d7#0"]


def test_a_stored_vector_of_which_one_number_differs_is_told(
    connection: postgres.Connection, index: FaissIndex
) -> None:
    fill(connection, docs(0, 300))
    sync_index(connection, index)
    query = "select vector from entries where chunk_id = 'd7#0'"
    with index._changing() as (rows, opened):
        ((stored,),) = rows.execute(query).fetchall()
        row = np.frombuffer(bytearray(stored), dtype=uint8_rows(opened.d))
        place = int(row["codes"][0].argmin())  # 0: of all levels the lowest
        row["codes"][0, place] += 2
        update = "update entries set vector = ? where chunk_id = 'd7#0'"
        rows.execute(update, [row.tobytes()])
    index.set_mark(index.mark())
    index.close()
    assert altered_entries(connection, index) == ["d7#0"]


def test_where_each_vector_is_is_read_once_for_all_batches(
    connection: postgres.Connection, index: FaissIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_number, made = codes._by_number, []
    monkeypatch.setattr(codes, "_by_number", lambda opened: made.append(1) or by_number(opened))
    monkeypatch.setattr("ml_assets.search.indexes.ledger.VECTORS_AT_A_TIME", 7)
    fill(connection, docs(0, 20))
    sync_index(connection, index)
    assert altered_entries(connection, index) == []
    assert made == [1]


def test_files_that_do_not_belong_together_are_damaged(
    connection: postgres.Connection, settings: Settings, index: FaissIndex
) -> None:
    fill(connection, docs(0, 20))
    sync_index(connection, index)
    index.close()
    with closing(sqlite3.connect(index.path / "rows.sqlite")) as rows, rows:
        rows.execute("delete from entries where chunk_id = 'd7#0'")
    with pytest.raises(DamagedStoreError, match="20 vectors of 19 entries"):
        nearest(index, "text 7", 1)
    with closing(sqlite3.connect(index.path / "rows.sqlite")) as rows, rows:
        rows.execute("insert into entries values (99, 'd7#0', '', null)")
    index.close()
    with pytest.raises(DamagedStoreError, match="have no entries"):
        nearest(index, "text 7", 1)


def test_a_killed_sync_leaves_the_old_index_and_no_file_behind(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    index: FaissIndex,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(connection, docs(0, 20))
    sync_index(connection, index)
    reader = FaissIndex(settings.faiss_folder, generation)
    remove(connection, "d0")
    put(connection, "new", Doc(("text new",)))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    # The new file is written, and the rows do not name it yet.
    with monkeypatch.context() as patch:
        patch.setattr("ml_assets.search.indexes.faiss.index.Path.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            sync_index(connection, index)
    index.close()
    assert len(files(settings)) == 2
    assert nearest(reader, "text 0", 1) == ["d0#0"]
    survivor = FaissIndex(settings.faiss_folder, generation)
    assert sync_index(connection, survivor).delta == Delta(added=1, removed=1, unchanged=19)
    assert len(files(settings)) == 1
    # A reader that was open all the time answers from the new index, too.
    assert nearest(reader, "text new", 1) == ["new#0"]
    assert "d0#0" not in ids(reader)
    reader.close()
    survivor.close()


def test_nothing_to_do_writes_no_file(
    connection: postgres.Connection, settings: Settings, index: FaissIndex
) -> None:
    fill(connection, docs(0, 20))
    sync_index(connection, index)
    index.close()
    before = [(file, file.stat().st_mtime_ns) for file in sorted(index.path.iterdir())]
    assert sync_index(connection, index).delta == Delta(unchanged=20)
    index.close()
    after = [(file, file.stat().st_mtime_ns) for file in sorted(index.path.iterdir())]
    assert after == before


def test_an_index_that_lost_all_its_chunks_answers_with_none(
    connection: postgres.Connection, index: FaissIndex
) -> None:
    fill(connection, docs(0, 3))
    sync_index(connection, index)
    remove(connection, *docs(0, 3))
    assert sync_index(connection, index).delta == Delta(removed=3)
    index.close()
    assert index.size() == 0
    assert nearest(index, "text 1", 3) == []


def test_a_damaged_file_is_a_clear_error(
    connection: postgres.Connection, settings: Settings, index: FaissIndex
) -> None:
    fill(connection, docs(0, 3))
    sync_index(connection, index)
    index.close()
    (file,) = files(settings)
    file.write_bytes(b"nothing")
    with pytest.raises(StoreError, match="builds it anew"):
        nearest(index, "text 1", 3)
    file.unlink()
    with pytest.raises(StoreError, match="cannot be used"):
        nearest(index, "text 1", 3)


def test_a_file_that_a_writer_has_just_replaced_is_looked_up_again(
    connection: postgres.Connection, index: FaissIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection, docs(0, 3))
    sync_index(connection, index)
    opened, looks = FaissIndex._index, list[str]()

    def replaced(one: FaissIndex, rows: sqlite3.Connection) -> object:
        looks.append("")
        if len(looks) == 1:
            raise FileNotFoundError
        return opened(one, rows)

    monkeypatch.setattr(FaissIndex, "_index", replaced)
    assert nearest(index, "text 1", 1) == ["d1#0"]
    assert len(looks) == 2


def test_without_the_package_it_is_said_what_to_install(
    connection: postgres.Connection, index: FaissIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    fill(connection, docs(0, 1))
    with pytest.raises(SettingError, match="pip install faiss-cpu"):
        sync_index(connection, index)
