"""The documentation of every distribution installed beside the running Python."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Collection, Iterator, Set
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import check_name, check_text, normalize
from ml_assets.documents.sources.base import named_alike
from ml_assets.documents.sources.python_syntax import definitions

VERSION = "2"
"""Raise it when the extraction changes: it is part of every fingerprint."""

BUCKETS = 16
_SKIPPED_FOLDERS = {"test", "tests", "testing", "conftest", "vendor", "extern"}
_FIELDS = (
    *("document_id", "collection", "text", "title", "label", "group"),
    *("metadata.kind", "metadata.module", "metadata.version"),
)
"""What a document of this source has."""


class PythonEnvironment:
    """Every documented public object of the installed distributions, read from their sources.

    Nothing is imported: importing hundreds of packages is slow and does things. So modules that
    are compiled (C extensions) are not described. Label is the distribution, collection one of
    `BUCKETS` hash buckets of it. Modules of tests and vendored copies are left out; a module that
    two distributions list belongs to the first of them.
    """

    name = "python_environment"

    def __init__(self, max_document_bytes: int) -> None:
        """Describe the source; larger docstrings are quarantined."""
        self._max_bytes = max_document_bytes

    def stamp(self) -> str:
        """Return the times of the folders of packages: an installation writes there."""
        folders = [folder for folder in map(Path, sys.path) if folder.is_dir()]
        return repr([(str(folder), folder.stat().st_mtime_ns) for folder in folders])

    def collections(self) -> dict[str, str]:
        """Return the buckets; the fingerprint is that of versions and lists of files."""
        return dict(_fingerprints(self.stamp(), self._max_bytes))

    def columns(self) -> dict[str, tuple[str, ...]]:
        """Return the fields themselves: what describes itself has no columns."""
        return named_alike(*_FIELDS)

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        """Stream the objects of these buckets, one source file in memory at a time."""
        installed = _installed()
        owned = _owned(installed)
        modules = {module for files in owned.values() for module in files.values()}
        for name, distribution in installed.items():
            if _bucket_of(name) in collections:
                yield from self._distribution(name, distribution, owned[name], modules)

    def judged_queries(self) -> None:
        """Return None: nobody has asked questions about these packages."""

    def _distribution(
        self, name: str, distribution: Distribution, files: dict[str, str], modules: Set[str]
    ) -> Iterator[Document | Rejected]:
        bucket, version = _bucket_of(name), distribution.version
        for file, module in files.items():
            try:
                source = Path(str(distribution.locate_file(file))).read_bytes()
                objects = definitions(source, module)
            except (OSError, SyntaxError) as error:
                yield Rejected(bucket, f"{name} {file}", f"cannot be read ({error})")
                continue
            for item in objects:
                text = normalize(item.doc)
                wrong = check_text(text, self._max_bytes) or check_name(item.name, "id")
                if not modules.isdisjoint(_within(item.name, module)):
                    wrong = "a module has this name"
                if wrong:
                    yield Rejected(bucket, f"{name} {item.name}", wrong)
                    continue
                yield Document(
                    document_id=item.name,
                    collection=bucket,
                    text=text,
                    title=item.name,
                    label=name,
                    group=item.group,
                    metadata={"kind": item.kind, "module": module, "version": version},
                )


@lru_cache(maxsize=1)
def _fingerprints(stamp: str, max_bytes: int) -> dict[str, str]:
    parameters = f"{platform.python_version()} {VERSION} {max_bytes}\n".encode()
    digests = {_bucket(number): hashlib.sha256(parameters) for number in range(BUCKETS)}
    installed = _installed()
    owned = _owned(installed)
    for name, distribution in installed.items():
        record = f"{distribution.read_text('RECORD')} {[*owned[name]]}"
        listed = hashlib.sha256(record.encode("utf-8", "surrogateescape")).hexdigest()
        line = f"{name} {distribution.version} {listed}\n"
        digests[_bucket_of(name)].update(line.encode())
    return {bucket: digest.hexdigest() for bucket, digest in digests.items()}


def _installed() -> dict[str, Distribution]:
    """Return the distributions by their canonical names, sorted; of two the first on the path."""
    installed: dict[str, Distribution] = {}
    for distribution in distributions():
        if written := distribution.metadata["Name"]:
            installed.setdefault(re.sub(r"[-_.]+", "-", written).lower(), distribution)
    return dict(sorted(installed.items()))


def _owned(installed: dict[str, Distribution]) -> dict[str, dict[str, str]]:
    """Return the modules of each distribution by file; of two with one name it is the first's."""
    seen: set[str] = set()
    owned: dict[str, dict[str, str]] = {}
    for name, distribution in installed.items():
        files = owned[name] = {}
        for file, module in _modules(distribution):
            if module not in seen:
                seen.add(module)
                files[file] = module
    return owned


def _modules(distribution: Distribution) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of every public module with a source."""
    for file in sorted(map(str, distribution.files or ())):
        if not file.endswith(".py"):
            continue
        path = PurePosixPath(file.removesuffix(".py"))
        parts = path.parts[:-1] if path.name == "__init__" else path.parts
        if parts and all(map(_is_public, parts)):
            yield file, ".".join(parts)


def _within(name: str, module: str) -> Iterator[str]:
    """Yield the names of an object of `module` and of what it belongs to within it."""
    while len(name) > len(module):
        yield name
        name = name.rpartition(".")[0]


def _is_public(part: str) -> bool:
    return part.isidentifier() and not part.startswith("_") and part not in _SKIPPED_FOLDERS


def _bucket(number: int) -> str:
    return f"packages-{number:02d}"


def _bucket_of(distribution: str) -> str:
    return _bucket(hashlib.sha256(distribution.encode()).digest()[0] % BUCKETS)
