"""Lineage as events of OpenLineage (https://openlineage.io/spec), for a catalogue of data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from ml_assets.errors import StoreError, UserError, first_line, mask_secrets
from ml_assets.operations.governance.nodes import Lineage, Node

_MADE_BY = {
    "document": "raw_documents",
    "version": "train_models",
    "generation": "rebuild_search",
    "release": "release",
    "prediction": "predict",
    "table": "raw_documents",
    "feature view": "features",
    "training set": "training_set",
}
"""The job that makes something of a kind."""
_PRODUCER = "https://pypi.org/project/ml-assets"
_SECONDS = 10.0


def as_events(lineage: Lineage, namespace: str = "ml_assets") -> list[dict[str, Any]]:
    """One event of what something was made from, and one for each kind of what was made from it.

    The id of a run follows from what it is about, so that what is sent twice is one. Of a column
    the facets `schema` and `columnLineage` tell; catalogues take the second only with the first.

    Raises:
        UserError: the extra is not installed.
    """
    about = of = lineage.of
    if of.kind == "column":  # it becomes one of the documents, of which all else is made
        of, *others = lineage.made_into
        lineage = replace(lineage, of=of, made_into=others)
    events = [_event(namespace, _MADE_BY[of.kind], lineage.made_from, [of], about)]
    for kind in dict.fromkeys(node.kind for node in lineage.made_into):
        made = [node for node in lineage.made_into if node.kind == kind]
        events.append(_event(namespace, _MADE_BY.get(kind, f"{kind}s"), [of], made, about))
    return events


def send(events: Iterable[dict[str, Any]], target: str) -> None:
    """Append events to a file, a line each, or post them to a URL such as `…/api/v1/lineage`.

    Raises:
        StoreError: the file cannot be written, or the server does not take them.
    """
    lines = [json.dumps(event) for event in events]
    if urlsplit(target).scheme in ("http", "https"):
        _post(lines, target)
        return
    try:
        with Path(target).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise StoreError(
            f"it cannot be written ({error.strerror})", where=target, do="Name another file"
        ) from None


def _post(lines: Sequence[str], url: str) -> None:
    import httpx

    try:
        with httpx.Client(timeout=_SECONDS) as client:
            for line in lines:
                headers = {"Content-Type": "application/json"}
                client.post(url, content=line, headers=headers).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise StoreError(
            f"the lineage is not taken ({mask_secrets(first_line(error))})",
            where=mask_secrets(url),
            do="Check the address, such as http://marquez:5000/api/v1/lineage",
        ) from None


def _event(
    namespace: str, job: str, made_from: Sequence[Node], made: Sequence[Node], about: Node
) -> dict[str, Any]:
    try:
        from openlineage.client.event_v2 import (
            InputDataset,
            Job,
            OutputDataset,
            Run,
            RunEvent,
            RunState,
        )
        from openlineage.client.serde import Serde
    except ImportError:
        raise UserError(
            "openlineage-python is not installed",
            where="--openlineage",
            do="Run `pip install 'ml-assets[lineage]'`",
        ) from None

    read = {
        column for node in made for of in (*node.columns.values(), node.decided_by) for column in of
    }
    event = RunEvent(
        eventTime=datetime.now(UTC).isoformat(),
        eventType=RunState.COMPLETE,
        producer=_PRODUCER,
        run=Run(runId=str(uuid5(NAMESPACE_URL, f"{namespace}/{job}/{_named(about)}"))),
        job=Job(namespace=namespace, name=job),
        inputs=[
            InputDataset(namespace, _named(node), facets=_described(node, sorted(read)))
            for node in made_from
        ],
        outputs=[
            OutputDataset(
                namespace,
                _named(node),
                facets=_described(node, node.columns) | _column_lineage(namespace, node, made_from),
            )
            for node in made
        ],
    )
    written: dict[str, Any] = json.loads(Serde.to_json(event))
    return written


def _named(node: Node) -> str:
    return f"{node.kind.replace(' ', '_')}/{node.name}"


def _described(node: Node, columns: Iterable[str]) -> dict[str, Any]:
    """What is known of a node, and these columns of it."""
    from openlineage.client.facet_v2 import documentation_dataset, schema_dataset

    facets: dict[str, Any] = {}
    if known := ", ".join(f"{name}: {value}" for name, value in node.facts.items()):
        facets["documentation"] = documentation_dataset.DocumentationDatasetFacet(description=known)
    if fields := [schema_dataset.SchemaDatasetFacetFields(name=name) for name in columns]:
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields)
    return facets


def _column_lineage(namespace: str, node: Node, made_from: Sequence[Node]) -> dict[str, Any]:
    """Of which columns of the one thing before it a node is made: its columns, and as a whole."""
    from openlineage.client.facet_v2 import column_lineage_dataset as facet

    if not node.columns and not node.decided_by:
        return {}
    (before,) = made_from

    def inputs(columns: Iterable[str], kind: str) -> list[facet.InputField]:
        how = [facet.Transformation(type=kind)]
        named = _named(before)
        return [facet.InputField(namespace, named, column, list(how)) for column in columns]

    fields = {
        name: facet.Fields(inputFields=inputs(of, "DIRECT")) for name, of in node.columns.items()
    }
    whole = inputs(node.decided_by, "INDIRECT")
    return {"columnLineage": facet.ColumnLineageDatasetFacet(fields=fields, dataset=whole)}
