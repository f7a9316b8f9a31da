"""Documents of a test, chunked and embedded."""

from collections.abc import Callable
from functools import cache

from ml_assets.documents.chunking import Chunker
from ml_assets.documents.model import Document
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.embeddings.refresh import refresh_embeddings
from ml_assets.embeddings.space import VectorSpace, current_model
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource

Load = Callable[..., None]

DOCUMENTS = (
    Document("prose", "a", "It was late. The well-known cat, 3 years old, didn't sleep", label="x"),
    Document("code", "a", "def f(x):\n    return x ** 2\n\nprint(f(3))  # 9\n", label="y"),
    Document("words", "a", " ".join(f"word{number % 70}" for number in range(120))),
    Document("other", "b", "Zażółć gęślą jaźń: 漢字 🙂…\n\nÄpfel? 100 %!"),
    Document("twin", "b", "Zażółć gęślą jaźń: 漢字 🙂…\n\nÄpfel? 100 %!"),
    Document("none", "b", "…!?"),
)


def load_into(
    connection: postgres.Connection,
    *documents: Document,
    space: VectorSpace = SPACE,
    chunk_tokens: int = 16,
) -> None:
    """Make the tables hold exactly `documents`, chunked and embedded."""
    source = MemorySource(documents)
    known = [n for (n,) in connection.execute("select collection from collections").fetchall()]
    names = sorted({*source.collections(), *known})
    refresh_documents(connection, source, names, max_removed_fraction=1.0)
    refresh_chunks(connection, _chunker(chunk_tokens), names)
    refresh_embeddings(connection, space, lambda: HashEncoder(space), names)


@cache
def _chunker(tokens: int) -> Chunker:
    """One for all loads: each reads the tokenizer from its file once."""
    return Chunker(current_model(load_settings()).tokenizer_file, 64, tokens=tokens, overlap=4)
