"""What is DynamoDB's own."""

from pathlib import Path
from typing import Any

import pytest

from ml_assets.errors import OutageError, SettingError, StoreError
from ml_assets.stores import online
from ml_assets_tests.servers import free_port
from ml_assets_tests.servers.keyed import AWS
from ml_assets_tests.stores.online.opening import A, numbered


def test_a_mark_of_dynamodb_tells_that_something_was_written(
    dynamodb_url: str, tmp_path: Path
) -> None:
    with online.connect(dynamodb_url, tmp_path) as store:
        marks = [online.mark(dynamodb_url)]
        store.put_many("marked", {"a": A})
        marks.append(online.mark(dynamodb_url))
        store.get_many("marked", ["a"])
        assert online.mark(dynamodb_url) == marks[-1]
        store.delete_many("marked", ["a"])
        marks.append(online.mark(dynamodb_url))
        store.replace("marked", [{"a": A}], 1)
        assert len({*marks, online.mark(dynamodb_url)}) == 4


def test_what_dynamodb_answers_in_part_is_asked_again(
    dynamodb_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    rows = numbered(8)
    with online.connect(dynamodb_url, tmp_path) as store:
        client, table = store._client, store._table  # type: ignore[attr-defined]
        write, read = client.batch_write_item, client.batch_get_item

        def write_some(RequestItems: dict[str, Any]) -> Any:  # noqa: N803
            some, rest = RequestItems[table][:3], RequestItems[table][3:]
            write(RequestItems={table: some})
            return {"UnprocessedItems": {table: rest} if rest else {}}

        def read_some(RequestItems: dict[str, Any]) -> Any:  # noqa: N803
            some, rest = RequestItems[table]["Keys"][:3], RequestItems[table]["Keys"][3:]
            given = read(RequestItems={table: {"Keys": some}})
            return {**given, "UnprocessedKeys": {table: {"Keys": rest}} if rest else {}}

        def read_nothing(RequestItems: dict[str, Any]) -> Any:  # noqa: N803
            return {"Responses": {}, "UnprocessedKeys": RequestItems}

        monkeypatch.setattr(online.dynamodb.time, "sleep", pauses.append)
        monkeypatch.setattr(client, "batch_write_item", write_some)
        monkeypatch.setattr(client, "batch_get_item", read_some)
        store.put_many("view_v1", rows)
        assert store.get_rows("view_v1", list(rows)) == rows
        assert pauses == [0.05, 0.1] * 2
        monkeypatch.setattr(client, "batch_get_item", read_nothing)
        with pytest.raises(OutageError, match="answers a part of what it is asked"):
            store.get_rows("view_v1", ["e0"])


@pytest.mark.parametrize("url", ["dynamodb://eu-west-1", "dynamodb:///table", "dynamodb://"])
def test_a_table_without_a_place_is_a_clear_line(tmp_path: Path, url: str) -> None:
    with (
        pytest.raises(SettingError, match="DYNAMODB_URL: it has no"),
        online.connect(url, tmp_path),
    ):
        pass


def test_a_dynamodb_that_does_not_answer_or_knows_nobody_is_a_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"dynamodb://eu-west-1/table?endpoint=http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in AWS:
        monkeypatch.setenv(name, "someone")
    with pytest.raises(OutageError, match="DYNAMODB_URL"), online.connect(url, tmp_path):
        pass
    for name in AWS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match="credentials"), online.connect(url, tmp_path):
        pass
