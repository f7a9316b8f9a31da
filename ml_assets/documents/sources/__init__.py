"""Sources of documents, and the one line of text that chooses and configures them.

One module per source, registered in `open`; judged queries lie beside the source that owns them.
Writing to tables is not for a source: it yields documents and rejected rows.
"""

from ml_assets.documents.sources.base import Source
from ml_assets.documents.sources.open import open_source

__all__ = ["Source", "open_source"]
