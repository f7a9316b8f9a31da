"""Texts to encode, and documents of a test, chunked."""

from ml_assets.documents.chunking import Chunker
from ml_assets.documents.model import Document
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.embeddings.space import current_model
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import MemorySource

TEXTS = [
    "Return the absolute value of a number.",
    "",
    "argparse.ArgumentParser\nObject for parsing command line strings into Python objects.",
    "word " * 220,
    "Zażółć gęślą jaźń 漢字 🙂",
]
CHUNKER = Chunker(current_model(load_settings()).tokenizer_file, 40, tokens=16, overlap=4)


def load_documents(connection: postgres.Connection, *documents: Document) -> list[str]:
    source = MemorySource(documents)
    known = [n for (n,) in connection.execute("select collection from collections").fetchall()]
    names = sorted({*source.collections(), *known})
    refresh_documents(connection, source, names, max_removed_fraction=1.0)
    refresh_chunks(connection, CHUNKER, names)
    return names
