"""Registered models: their versions, and the aliases that name one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from ml_assets.stores.mlflow.client import EXPERIMENT, activate
from ml_assets.stores.mlflow.location import Tracking, records
from ml_assets.stores.mlflow.models import model_id
from ml_assets.stores.mlflow.refusals import existing_is_fine, explained
from ml_assets.stores.sql import statement
from ml_assets.stores.web import ask


def ensure_version(
    where: Tracking, name: str, uri: str, run_id: str, tags: Mapping[str, str]
) -> int:
    """Register the model at `uri` as a version of `name`, if it is none; return its number.

    Raises:
        StoreError: MLflow does not answer, or does not have the model.
    """
    mlflow = activate(where)
    client = mlflow.MlflowClient()
    with explained(where, f"{uri} cannot be registered"):
        versions = client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
        for registered in versions:
            if registered.source == uri:
                return int(registered.version)
        with existing_is_fine(mlflow):
            client.create_registered_model(name)
        model = model_id(uri)
        created = client.create_model_version(name, uri, run_id, tags=dict(tags), model_id=model)
        return int(created.version)


def describe_version(where: Tracking, name: str, uri: str, run_id: str, text: str) -> None:
    """Give the version of `name` that is the model at `uri` a description, of 5,000 characters."""
    client = activate(where).MlflowClient()
    with explained(where, f"{uri} cannot be described"):
        for registered in client.search_model_versions(f"name='{name}' and run_id='{run_id}'"):
            if registered.source == uri:
                client.update_model_version(name, registered.version, text)


def rewrite_texts(where: Tracking, alter: Callable[[str], str]) -> int:
    """Set tags of our runs and of their models, and descriptions, to what `alter` makes of them.

    Returns how many it makes another one of. Parameters cannot be set twice, and stay.

    Raises:
        StoreError: MLflow does not answer.
    """
    mlflow = activate(where)
    client, every = mlflow.MlflowClient(), mlflow.entities.ViewType.ALL
    with explained(where, "its tags and descriptions cannot be set"):
        ours = [mlflow.get_experiment_by_name(EXPERIMENT).experiment_id]
        runs = {run.info.run_id: run for run in _all(client.search_runs, ours, run_view_type=every)}
        versions = [v for v in _all(client.search_model_versions) if v.run_id in runs]
        setters = [
            *((run.data.tags, partial(client.set_tag, run_id)) for run_id, run in runs.items()),
            *((v.tags, partial(client.set_model_version_tag, v.name, v.version)) for v in versions),
            *(
                ({"": v.description or ""}, partial(_describe, client, v.name, v.version))
                for v in versions
            ),
        ]
        changed = [
            (set_text, key, new)
            for texts, set_text in setters
            for key, old in texts.items()
            if (new := alter(old)) != old
        ]
        for set_text, key, new in changed:
            set_text(key, new)
    return len(changed)


def _describe(client: Any, name: str, version: str, _: str, text: str) -> None:
    client.update_model_version(name, version, text)


def _all(search: Callable[..., Any], *given: Any, **more: Any) -> Iterator[Any]:
    """All that a search gives, page by page."""
    token = None
    while True:
        page = search(*given, **more, page_token=token)
        yield from page
        if not (token := page.token):
            return


def read_aliases(where: Tracking, name: str) -> dict[str, str]:
    """The URI of the model that every alias of a registered model names; none where it is gone.

    mlflow stays out where the store is ours: to import it would take longer than all else of a run
    that finds the aliases in their places.
    """
    if where.artifacts is None:
        client = activate(where).MlflowClient()
        with explained(where):
            return {
                alias: client.get_model_version(name, version).source
                for model in client.search_registered_models(f"name='{name}'")
                for alias, version in model.aliases.items()
            }
    with records(where) as connection:
        (table,) = connection.execute("select to_regclass('registered_model_aliases')").fetchall()
        if table == (None,):
            return {}
        return dict(connection.execute(statement("postgres/stores/aliases"), [name]).fetchall())


def set_alias(where: Tracking, name: str, alias: str, version: int | None) -> None:
    """Let an alias of a registered model name a version, or nothing."""
    mlflow = activate(where)
    client = mlflow.MlflowClient()
    with explained(where, f"alias {alias}"):
        if version is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, str(version))


def mark(uri: str, name: str) -> str:
    """What a server tells of a registered model: versions, aliases, and the files of their models.

    mlflow is not imported, and no model is read.

    Raises:
        OutageError: it does not answer.
    """
    url = _with_credentials(uri)
    answer = ask(url, f"api/2.0/mlflow/registered-models/get?name={name}").decode()
    models = sorted(set(re.findall(r'"models:/([\w-]+)"', answer)))
    files = [ask(url, f"api/2.0/mlflow/logged-models/{m}/artifacts/directories") for m in models]
    return repr((answer, files))


def _with_credentials(uri: str) -> str:
    """The URL with the user and password of MLflow's own variables, unless it has some."""
    parts = urlsplit(uri)
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    user, password = map(os.environ.get, names)
    if parts.password or not (user and password):
        return uri
    who = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc.rpartition('@')[2]}"))
