"""The one partitioning of documents and embeddings: by collection."""

from __future__ import annotations

import warnings

import dagster as dg

COLLECTIONS = dg.DynamicPartitionsDefinition(name="collections")

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)
    SINGLE_RUN = dg.BackfillPolicy.single_run()
    """On every asset: a range of partitions, and what follows it, is one run."""
