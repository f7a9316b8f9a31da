"""A source of files, and what it reads."""

from __future__ import annotations

from pathlib import Path

from ml_assets.documents.formats.rows import columns_from
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.sources.files import Files


def source(
    pattern: object, max_bytes: int = 10_000, name: str = "", encoding: str = "", **options: str
) -> Files:
    return Files(str(pattern), columns_from(options), max_bytes, name, encoding=encoding)


def rows(files: Files) -> list[Document | Rejected]:
    return list(files.read(list(files.collections())))


def documents(files: Files) -> list[Document]:
    return [row for row in rows(files) if isinstance(row, Document)]


def rejected(files: Files) -> list[Rejected]:
    return [row for row in rows(files) if isinstance(row, Rejected)]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path
