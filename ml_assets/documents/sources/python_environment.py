"""The documentation of every distribution installed beside the running Python."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Collection, Iterator
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import check_name, check_text, normalize
from ml_assets.documents.sources.python_syntax import definitions

VERSION = "1"
"""Raise it when the extraction changes: it is part of every fingerprint."""

BUCKETS = 16
_SKIPPED_FOLDERS = {"test", "tests", "testing", "conftest", "vendor", "extern"}


class PythonEnvironment:
    """Every documented public object of the installed distributions, read from their sources.

    Nothing is imported: importing hundreds of packages is slow and does things. So modules that
    are compiled (C extensions) are not described. Label is the distribution, collection one of
    `BUCKETS` hash buckets of it. Modules of tests and vendored copies are left out; a file that two
    distributions list belongs to the first of them.
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

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        """Stream the objects of these buckets, one source file in memory at a time."""
        taken: set[str] = set()
        for name, distribution in _installed().items():
            listed = _modules(distribution)
            modules = {file: module for file, module in listed if file not in taken}
            taken.update(modules)
            if _bucket_of(name) in collections:
                yield from self._distribution(name, distribution, modules)

    def judged_queries(self) -> None:
        """Return None: nobody has asked questions about these packages."""

    def _distribution(
        self, name: str, distribution: Distribution, modules: dict[str, str]
    ) -> Iterator[Document | Rejected]:
        bucket, version = _bucket_of(name), distribution.version
        seen: set[str] = set()
        for file, module in modules.items():
            try:
                source = Path(str(distribution.locate_file(file))).read_bytes()
                objects = definitions(source, module)
            except (OSError, SyntaxError) as error:
                yield Rejected(bucket, f"{name} {file}", f"cannot be read ({error})")
                continue
            for item in objects:
                text = normalize(item.doc)
                wrong = check_text(text, self._max_bytes) or check_name(item.name, "id")
                if item.name in seen:
                    wrong = "another object of this name comes earlier"
                if wrong:
                    yield Rejected(bucket, f"{name} {item.name}", wrong)
                    continue
                seen.add(item.name)
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
    for name, distribution in _installed().items():
        record = distribution.read_text("RECORD") or ""
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


def _modules(distribution: Distribution) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of every public module with a source."""
    for file in sorted(map(str, distribution.files or ())):
        if not file.endswith(".py"):
            continue
        path = PurePosixPath(file.removesuffix(".py"))
        parts = path.parts[:-1] if path.name == "__init__" else path.parts
        if parts and all(map(_is_public, parts)):
            yield file, ".".join(parts)


def _is_public(part: str) -> bool:
    return part.isidentifier() and not part.startswith("_") and part not in _SKIPPED_FOLDERS


def _bucket(number: int) -> str:
    return f"packages-{number:02d}"


def _bucket_of(distribution: str) -> str:
    return _bucket(hashlib.sha256(distribution.encode()).digest()[0] % BUCKETS)
