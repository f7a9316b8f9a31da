"""DynamoDB, by `dynamodb://REGION/TABLE`; `?endpoint=http://host:port` names another server.

Who asks is told as AWS's own tools are: by the environment, a profile, or the role of the machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import sha256
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

from ml_assets.errors import OutageError, SettingError, StoreError, first_line
from ml_assets.stores.online.contract import (
    OnlineStore,
    Reading,
    Row,
    overtaken,
    pack,
    reading,
    unpacked,
)
from ml_assets.stores.patience import until_it_answers

SCHEMES = ("dynamodb",)

_HEADS = "views"
"""The partition of the items that name the builds of each view."""
_READ, _WRITTEN = 100, 25
"""Items of a request, at most."""
_OF_A_BUCKET, _MOST_BUCKETS = 10_000, 1024
_LONGEST = 1_000
"""Bytes of an id that is a part of a key; DynamoDB takes 1,024."""
_TRIES = 8
"""Of a request that is answered in part: the table is asked for more than it gives."""

Item = dict[str, Any]


@contextmanager
def open_store(url: str) -> Iterator[OnlineStore]:
    """Open the table of `url`, which is created if it is not there; closed at the end."""
    with _connected(url) as (client, table):
        yield _DynamoDb(client, table)


def mark(url: str) -> str:
    """The builds of every view, and how many times each was written to.

    Raises:
        StoreError: it does not answer, or refuses.
    """
    with _connected(url) as (client, table):
        heads = _DynamoDb(client, table).heads()
        return repr(sorted((view, sorted(map(str, head.items()))) for view, head in heads.items()))


@contextmanager
def _connected(url: str) -> Iterator[tuple[Any, str]]:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError:
        raise SettingError(
            "DynamoDB needs boto3",
            where="DYNAMODB_URL",
            do="Run `pip install 'ml-assets[dynamodb]'`",
        ) from None
    parts = urlsplit(url)
    table, (endpoint,) = parts.path.strip("/"), parse_qs(parts.query).get("endpoint", [None])
    if not (parts.hostname and table):
        raise SettingError(
            "it has no region or no table", where="DYNAMODB_URL", do="Write dynamodb://REGION/TABLE"
        )
    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard"})
    try:
        client = boto3.client(
            "dynamodb", region_name=parts.hostname, endpoint_url=endpoint, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise _refusal(error, url) from None

    def ask() -> None:
        try:
            _ensure_table(client, table)
        except (BotoCoreError, ClientError) as error:
            raise _refusal(error, url) from None

    try:
        until_it_answers(ask)
        yield client, table
    except (BotoCoreError, ClientError) as error:
        raise _refusal(error, url) from None
    finally:
        client.close()


def _ensure_table(client: Any, table: str) -> None:
    try:
        client.describe_table(TableName=table)
        return
    except client.exceptions.ResourceNotFoundException:
        pass
    keys = {"bucket_id": "HASH", "entity_id": "RANGE"}
    # Another process may be faster.
    with suppress(client.exceptions.ResourceInUseException):
        client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            BillingMode="PAY_PER_REQUEST",
        )
    waiter = client.get_waiter("table_exists")
    waiter.wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def _refusal(error: Exception, url: str) -> StoreError:
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError

    kind = OutageError if isinstance(error, HTTPClientError | NoConnection) else StoreError
    return kind(
        f"{urlsplit(url).path.strip('/')} cannot be used ({first_line(error)})",
        where="DYNAMODB_URL",
        do="Check region, table and credentials (`aws sts get-caller-identity`), or unset it",
    )


class _DynamoDb:
    """An item for each entity in a partition of its bucket, and one for each view.

    That one names its builds, such as `7:12`: the seventh, of twelve buckets.
    """

    def __init__(self, client: Any, table: str) -> None:
        self._client, self._table = client, table
        self._known: dict[str, str] = {}

    def get_many(
        self, view: str, entity_ids: Sequence[str], now: datetime | None = None
    ) -> Reading:
        name, packed = self._read(view, entity_ids)
        return reading(name, packed, entity_ids, now)

    def get_rows(self, view: str, entity_ids: Sequence[str]) -> dict[str, Row]:
        return unpacked(self._read(view, entity_ids)[1])

    def put_many(self, view: str, rows: Mapping[str, Row]) -> None:
        packed = {id_: (row.revision, pack(row)) for id_, row in rows.items()}
        while True:
            name = self._name(view)
            if name is None:
                begun = self._begin(view, 1)
                if not self._publish(view, begun):
                    continue
                name = begun
            self._write(view, name, packed)
            if self._count_change(view) == name:
                return  # else another build took its place meanwhile

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        if name := self._name(view):
            ids = dict.fromkeys(entity_ids)
            self._change({"DeleteRequest": {"Key": _key(view, name, id_)}} for id_ in ids)
            self._count_change(view)

    def replace(self, view: str, batches: Iterable[Mapping[str, Row]], entities: int) -> None:
        buckets = min(max(-(-entities // _OF_A_BUCKET), 1), _MOST_BUCKETS)
        build = self._begin(view, buckets)
        for rows in batches:
            packed = {id_: (row.revision, pack(row)) for id_, row in rows.items()}
            self._write(view, build, packed)
        before = self._name(view)
        if not self._publish(view, build):
            self._forget(view, build)
            raise overtaken(view)
        if before:
            self._forget(view, before)

    def views(self) -> list[str]:
        return sorted(
            view
            for view, head in self.heads().items()
            if (name := _text(head, "read"))
            and any(list(islice(self._items(bucket), 1)) for bucket in _buckets(view, name))
        )

    def revisions(self, view: str) -> dict[str, str]:
        if not (name := self._name(view)):
            return {}
        return {
            _entity(item): item["revision"]["S"]
            for bucket in _buckets(view, name)
            for item in self._items(bucket)
        }

    def heads(self) -> dict[str, Item]:
        """The item of every view."""
        return {item["entity_id"]["S"][1:]: item for item in self._items(_HEADS, whole=True)}

    def _name(self, view: str) -> str | None:
        """The name of the build that is read."""
        found = self._client.get_item(TableName=self._table, Key=_head(view), ConsistentRead=True)
        return _text(found.get("Item", {}), "read")

    def _read(self, view: str, entity_ids: Sequence[str]) -> tuple[str | None, dict[str, bytes]]:
        """The build that is read, and what it has of these entities.

        The one of the last time is asked at once. It was read all the while, if it is still then.
        """
        name = self._known.get(view) or self._name(view)
        while name:
            found = self._get({id_: _key(view, name, id_) for id_ in entity_ids})
            read = self._name(view)
            if read == name:
                self._known[view] = name
                return name, {id_: item["features"]["B"] for id_, item in found.items()}
            name = read
        self._known.pop(view, None)
        return None, {}

    def _get(self, keys: Mapping[str, Item]) -> dict[str, Item]:
        found: dict[str, Item] = {}
        for batch in _batches(keys.values(), _READ):
            waiting: Any = {self._table: {"Keys": batch, "ConsistentRead": True}}
            for wait in self._tries():
                given = self._client.batch_get_item(RequestItems=waiting)
                for item in given["Responses"].get(self._table, ()):
                    found[_entity(item)] = item
                if not (waiting := given.get("UnprocessedKeys")):
                    break
                wait()
        return found

    def _write(self, view: str, name: str, packed: Mapping[str, tuple[str, bytes]]) -> None:
        self._change(
            {
                "PutRequest": {
                    "Item": {
                        **_key(view, name, id_),
                        **({"long_id": {"S": id_}} if _is_long(id_) else {}),
                        "revision": {"S": revision},
                        "features": {"B": values},
                    }
                }
            }
            for id_, (revision, values) in packed.items()
        )

    def _change(self, requests: Iterable[Item]) -> None:
        for batch in _batches(requests, _WRITTEN):
            waiting: Any = {self._table: batch}
            for wait in self._tries():
                given = self._client.batch_write_item(RequestItems=waiting)
                if not (waiting := given.get("UnprocessedItems")):
                    break
                wait()

    def _tries(self) -> Iterator[Any]:
        """Pauses that double, for a request that was answered in part."""
        for number in range(_TRIES):
            pause = 0.05 * 2**number
            yield lambda pause=pause: time.sleep(pause)
        raise OutageError(
            f"{self._table} answers a part of what it is asked",
            where="DYNAMODB_URL",
            do="Give the table more capacity",
        )

    def _begin(self, view: str, buckets: int) -> str:
        """Begin a build, and remove what another call left of one, or did not come to remove."""
        counted = self._update(view, "ADD #last :one", {":one": {"N": "1"}}, "UPDATED_NEW")
        name = f"{counted['last']['N']}:{buckets}"
        before = self._update(
            view, "SET begun = :name REMOVE retired", {":name": {"S": name}}, "ALL_OLD"
        )
        for left in ("begun", "retired"):
            if old := _text(before, left):
                self._forget(view, old)
        return name

    def _publish(self, view: str, name: str) -> bool:
        """Let a build be read, unless another one was begun; the one before is to be removed."""
        values = {":name": {"S": name}, ":none": {"S": "-"}}
        text = "SET retired = if_not_exists(#read, :none), #read = :name REMOVE begun"
        try:
            self._update(view, text, values, "NONE", "begun = :name")
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _count_change(self, view: str) -> str | None:
        """Count a change, for who asks whether there was one; the build that is read now."""
        return _text(
            self._update(view, "ADD changes :one", {":one": {"N": "1"}}, "ALL_NEW"), "read"
        )

    def _update(
        self, view: str, text: str, values: Item, returned: str, condition: str | None = None
    ) -> Item:
        """Change the item of a view; `last` and `read` are words of DynamoDB's own."""
        names = {f"#{name}": name for name in ("last", "read") if f"#{name}" in text}
        more: Item = {"ConditionExpression": condition} if condition else {}
        more |= {"ExpressionAttributeNames": names} if names else {}
        found = self._client.update_item(
            TableName=self._table,
            Key=_head(view),
            UpdateExpression=text,
            ExpressionAttributeValues=values,
            ReturnValues=returned,
            **more,
        )
        return dict(found.get("Attributes", {}))

    def _items(self, bucket: str, *, whole: bool = False) -> Iterator[Item]:
        """The items of a partition: their entities and revisions, or all of them."""
        more: Item = {} if whole else {"ProjectionExpression": "entity_id, long_id, revision"}
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="bucket_id = :bucket",
            ExpressionAttributeValues={":bucket": {"S": bucket}},
            ConsistentRead=True,
            **more,
        )
        for page in pages:
            yield from page["Items"]

    def _forget(self, view: str, name: str) -> None:
        """Remove a build, which nobody reads."""
        for bucket in _buckets(view, name):
            self._change(
                {
                    "DeleteRequest": {
                        "Key": {"bucket_id": {"S": bucket}, "entity_id": item["entity_id"]}
                    }
                }
                for item in list(self._items(bucket))
            )


def _head(view: str) -> Item:
    return {"bucket_id": {"S": _HEADS}, "entity_id": {"S": f"v{view}"}}


def _key(view: str, name: str, entity_id: str) -> Item:
    number, _, buckets = name.partition(":")
    encoded = entity_id.encode()
    bucket = crc32(encoded) % int(buckets)
    own = f"h{sha256(encoded).hexdigest()}" if _is_long(entity_id) else f"e{entity_id}"
    return {"bucket_id": {"S": f"{view}.{number}.{bucket}"}, "entity_id": {"S": own}}


def _is_long(entity_id: str) -> bool:
    """Whether an id is too long for a key, which then has its hash."""
    return len(entity_id.encode()) > _LONGEST


def _entity(item: Item) -> str:
    long: str | None = _text(item, "long_id")
    return item["entity_id"]["S"][1:] if long is None else long


def _buckets(view: str, name: str) -> list[str]:
    """The partitions of a build; none of what is no name of one."""
    number, _, count = name.partition(":")
    return [f"{view}.{number}.{bucket}" for bucket in range(int(count or 0))]


def _text(item: Item, name: str) -> str | None:
    return item[name]["S"] if name in item else None


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch
