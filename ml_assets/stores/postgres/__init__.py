"""PostgreSQL with pgvector: embedded (a wheel's own server on a Unix socket) or by URL.

Not here: any statement of a room's own tables; each room brings its own from `sql/`.
"""

from ml_assets.stores.postgres.connection import (
    connect,
    connect_reader,
    exists,
    open_plain,
    refuse_absent,
    server_url,
    stop,
)
from ml_assets.stores.postgres.statements import (
    Connection,
    analyze,
    copy_rows,
    read_batches,
    read_counts,
    read_problems,
    text_array,
)

__all__ = [
    "Connection",
    "analyze",
    "connect",
    "connect_reader",
    "copy_rows",
    "exists",
    "open_plain",
    "read_batches",
    "read_counts",
    "read_problems",
    "refuse_absent",
    "server_url",
    "stop",
    "text_array",
]
