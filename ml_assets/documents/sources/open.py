"""From the setting `ML_ASSETS_SOURCE` to a source."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from ml_assets.documents.pushed.source import WithPushed
from ml_assets.documents.sources.base import Source
from ml_assets.errors import SettingError, SourceError
from ml_assets.settings import Settings, secret

SETTING = "ML_ASSETS_SOURCE"
_IN_FILES = ("files", "beir")
"""Kinds whose path is one of files."""
_FILES = {"pipeline"}
"""Options that are paths of files."""
_EXAMPLES = {
    "sql": "postgresql://user@host:5432/database",
    "mongodb": "mongodb://user@host:27017/database",
}


@dataclass(frozen=True, slots=True)
class Spec:
    """A source as written: its kind, its path, and its options in writing order."""

    kind: str
    path: str
    options: Mapping[str, str]


def open_source(spec: str, settings: Settings) -> Source:
    """Open the source that `spec` describes; nothing of its documents is read yet.

    The form is that of a URL: `kind`, `kind:path` or `kind:path?option=value&option=value`,
    with percent-encoding (`%3F` for a question mark within the path, `+` or `%20` for a space
    within an option).

    - `python_docs`: the standard library of the running Python (the default).
    - `python_environment`: every distribution installed beside it.
    - `beir:FOLDER`: `corpus.jsonl`, `queries.jsonl`, `qrels.tsv`. Option `name`: the collection.
    - `files:PATTERN`: CSV, TSV, JSON Lines or Parquet tables, or folders of txt, md and html
      pages; any fsspec URL or glob. Options: `id`, `text`, `title`, `label`, `url`, `group` and
      `created_at` name the columns (each by default the column of its own name, when there is
      one; `label=` switches one off); `metadata=a,b` names columns to carry along;
      `collection_by=column` or `collection_by=created_at:day|month|quarter|year` splits the
      source; without it there is one collection, called `name`; `encoding` is that of texts and
      tables which are not UTF-8.
    - `sql:TABLE`: a table or view of the database in `ML_ASSETS_SOURCE_URL`, or `sql` with the
      option `query`; the options of `files`, and `fingerprint`: a query that tells of changes.
    - `mongodb:COLLECTION`: a collection of the database in `ML_ASSETS_SOURCE_URL`; the options of
      `files`, `filter`, `pipeline`: a file with the stages of an aggregation, and `fingerprint`:
      fields of which one changes whenever a document does.
    - a path to a `.toml` file: the same as keys, `source = "files"`, `path = "data/*.csv"`
      (relative to the file), and the options; `metadata` may be a list.

    With it comes what was pushed to the service of the deployment.

    Raises:
        SettingError: no such kind, or a form that cannot be read.
        SourceError: an option that the kind does not know, or one that it needs.
    """
    parsed = _read_toml(spec) if spec.endswith(".toml") else _parse(spec)
    if parsed.kind not in _OPENERS:
        do = f"Use one of {', '.join(_OPENERS)}, or the path of a .toml file"
        raise SettingError(f"unknown kind of source {parsed.kind!r}", where=SETTING, do=do)
    return WithPushed(_OPENERS[parsed.kind](parsed, settings), settings)


def _parse(spec: str) -> Spec:
    head, _, query = spec.strip().partition("?")
    kind, _, path = head.partition(":")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        message = f"the options cannot be read ({error})"
        raise SettingError(message, where=SETTING, do="Write ?option=value&…") from None
    options = dict(pairs)
    if len(options) < len(pairs):
        raise SettingError("an option is given twice", where=SETTING, do="Give each one once")
    return Spec(kind, unquote(path), options)


def _read_toml(spec: str) -> Spec:
    file = Path(spec).expanduser()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        message, do = f"{spec}: {error.strerror}", "Check the path and its permissions"
        raise SettingError(message, where=SETTING, do=do) from None
    except ValueError as error:
        message, do = f"{spec} is not TOML ({error})", 'Write lines such as key = "value"'
        raise SettingError(message, where=SETTING, do=do) from None
    options = {key: _toml_value(key, value, spec) for key, value in content.items()}
    kind, path = options.pop("source", ""), options.pop("path", "")
    if kind in _IN_FILES and path and "://" not in path:
        path = str(file.parent / Path(path).expanduser())
    for name in _FILES & options.keys():
        options[name] = str(file.parent / Path(options[name]).expanduser())
    return Spec(kind, path, options)


def _toml_value(key: str, value: object, spec: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    message = f"{spec}: {key} is not a string or a list of strings"
    raise SettingError(message, where=SETTING, do=f'Write {key} = "…" or {key} = ["…", "…"]')


def _open_python_docs(spec: Spec, settings: Settings) -> Source:
    from ml_assets.documents.sources.python_docs import PythonDocs

    _check(spec, path=False)
    return PythonDocs()


def _open_python_environment(spec: Spec, settings: Settings) -> Source:
    from ml_assets.documents.sources.python_environment import PythonEnvironment

    _check(spec, path=False)
    return PythonEnvironment(settings.max_document_bytes)


def _open_files(spec: Spec, settings: Settings) -> Source:
    from ml_assets.documents.formats.rows import OPTIONS, columns_from
    from ml_assets.documents.sources.files import Files

    _check(spec, *OPTIONS, "name", "encoding", path=True)
    name, columns = spec.options.get("name", ""), columns_from(spec.options)
    kept, encoding = settings.home / "extracted", spec.options.get("encoding", "")
    try:
        "".encode(encoding or "utf-8")
    except LookupError:
        message, do = f"unknown encoding {encoding}", "Write one such as cp1252 or utf-16"
        raise SourceError(message, where=f"{SETTING} ({spec.kind})", do=do) from None
    return Files(spec.path, columns, settings.max_document_bytes, name, kept, encoding)


def _open_beir(spec: Spec, settings: Settings) -> Source:
    from ml_assets.documents.sources.beir import Beir

    _check(spec, "name", path=True)
    return Beir(spec.path, settings.max_document_bytes, spec.options.get("name", ""))


def _open_sql(spec: Spec, settings: Settings) -> Source:
    from ml_assets.documents.formats.rows import OPTIONS, columns_from
    from ml_assets.documents.sources.databases.connections import Database
    from ml_assets.documents.sources.databases.sql import Sql

    own = {name: spec.options.get(name, "") for name in ("query", "fingerprint", "name")}
    _check(spec, *OPTIONS, *own, path=not own["query"])
    columns, url = columns_from(spec.options), _source_url(spec, settings)
    return Sql(Database(url), columns, settings.max_document_bytes, table=spec.path, **own)


def _open_mongodb(spec: Spec, settings: Settings) -> Source:
    from ml_assets.documents.formats.rows import OPTIONS, columns_from
    from ml_assets.documents.sources.databases.mongodb import Mongodb

    kept = ("filter", "pipeline", "fingerprint", "name")
    own = {name: spec.options.get(name, "") for name in kept}
    _check(spec, *OPTIONS, *own, path=True)
    columns, url = columns_from({"id": "_id", **spec.options}), _source_url(spec, settings)
    return Mongodb(url, spec.path, columns, settings.max_document_bytes, **own)


def _source_url(spec: Spec, settings: Settings) -> str:
    if "://" in spec.path:
        do = "Write the URL to ML_ASSETS_SOURCE_URL, which is never shown"
        raise SettingError("a URL of a database has passwords in it", where=SETTING, do=do)
    if url := secret(settings.source_url):
        return url
    do = f"Set it to the URL of the database, such as {_EXAMPLES[spec.kind]}"
    raise SettingError(f"{spec.kind} needs it", where="ML_ASSETS_SOURCE_URL", do=do)


def _check(spec: Spec, *known: str, path: bool) -> None:
    where = f"{SETTING} ({spec.kind})"
    if path and not spec.path:
        raise SourceError("no path", where=where, do=f"Write {spec.kind}:/path/to/the/documents")
    if spec.path and not path:
        message = f"takes no path, but got {spec.path!r}"
        raise SourceError(message, where=where, do=f"Write {spec.kind} alone")
    if unknown := sorted(set(spec.options) - set(known)):
        do = f"Use {', '.join(known)}" if known else "It takes no options"
        raise SourceError(f"unknown option {', '.join(unknown)}", where=where, do=do)


_OPENERS: Mapping[str, Callable[[Spec, Settings], Source]] = {
    "python_docs": _open_python_docs,
    "python_environment": _open_python_environment,
    "beir": _open_beir,
    "files": _open_files,
    "sql": _open_sql,
    "mongodb": _open_mongodb,
}
