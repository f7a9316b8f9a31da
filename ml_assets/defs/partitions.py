"""The partitionings: documents and embeddings by collection, time series by day."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import dagster as dg

PARTITIONS_NAME = "collections"
COLLECTIONS = dg.DynamicPartitionsDefinition(name=PARTITIONS_NAME)

DAYS = dg.DailyPartitionsDefinition("2000-01-01", end_offset=1)
"""Days in UTC, the present one too. A document from before the first is of no day."""


def register_collections(instance: dg.DagsterInstance, names: Iterable[str]) -> list[str]:
    """Add the collections that the instance does not have as partitions yet; return them."""
    present = set(instance.get_dynamic_partitions(PARTITIONS_NAME))
    missing = [name for name in names if name not in present]
    if missing:
        instance.add_dynamic_partitions(PARTITIONS_NAME, missing)
    return missing


def forget_collections(instance: dg.DagsterInstance, names: Iterable[str]) -> None:
    """Take the partitions of collections away; their records stay."""
    present = set(instance.get_dynamic_partitions(PARTITIONS_NAME))
    for name in sorted(present.intersection(names)):
        instance.delete_dynamic_partition(PARTITIONS_NAME, name)


def contiguous_ranges(
    instance: dg.DagsterInstance, wanted: Iterable[str]
) -> list[dg.PartitionKeyRange]:
    """The fewest ranges of partitions that hold exactly the `wanted` ones."""
    chosen = set(wanted)
    groups = groupby(instance.get_dynamic_partitions(PARTITIONS_NAME), chosen.__contains__)
    ranges = [list(names) for is_wanted, names in groups if is_wanted]
    return [dg.PartitionKeyRange(names[0], names[-1]) for names in ranges]


def ranges_apart(
    instance: dg.DagsterInstance, wanted: Iterable[str], apart: Iterable[str]
) -> list[dg.PartitionKeyRange]:
    """The ranges of the `wanted` partitions; those that failed before, `apart`, come last.

    A run that one partition fails ends for all of its range.
    """
    chosen, failing = set(wanted), set(apart)
    return [
        *contiguous_ranges(instance, chosen - failing),
        *contiguous_ranges(instance, chosen & failing),
    ]


def range_tags(keys: dg.PartitionKeyRange) -> dict[str, str]:
    """The tags that make a run cover a range of partitions."""
    return {
        "dagster/asset_partition_range_start": keys.start,
        "dagster/asset_partition_range_end": keys.end,
    }
