"""What assets of monitoring show: tables, pictures, and what the store of metrics takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.defs.assets import described, plot, table
from ml_assets.monitoring.anomalies import DAY, midnight
from ml_assets.monitoring.hourly import Found, read_series
from ml_assets.monitoring.plots import anomaly_plot, trend_plot
from ml_assets.monitoring.trends import Trend
from ml_assets.releases.pointer import Part, Release
from ml_assets.stores.metrics import Sizes

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_MOST_PLOTS = 6
_MOST_CHUNKS = 40


def last_version(context: dg.AssetExecutionContext) -> dg.DataVersion | None:
    """The data version that the asset had before."""
    event = context.instance.get_latest_materialization_event(context.asset_key)
    known = event.asset_materialization if event else None
    tags = known.tags if known else None
    return dg.DataVersion(tags["dagster/data_version"]) if tags else None


def by_day(
    days: Sequence[date],
    rows: Sequence[dict[str, Any]],
    day_of: Callable[[dict[str, Any]], date] = itemgetter("day"),
) -> dict[date, list[dict[str, Any]]]:
    """The rows of each day, also of those without any."""
    found: dict[date, list[dict[str, Any]]] = {day: [] for day in days}
    for row in rows:
        found[day_of(row)].append(row)
    return found


def series_of(
    rows: Sequence[Mapping[str, Any]], *names: str
) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Rows by their values of `names`, with the moment at which their day began."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        moment = midnight(row["day"])
        found.setdefault(tuple(row[name] for name in names), []).append({**row, "day": moment})
    return found


def marks(releases: Sequence[Release], part: Part) -> dict[str, datetime]:
    """The releases that changed a part, and when."""
    marks: dict[str, datetime] = {}
    before = None
    for release in reversed(releases):
        if (now := release.parts.identity(part)) != before:
            marks[f"release {release.release_id}"] = release.served_from
        before = now
    return marks


def trend_plots(
    trends: Sequence[Trend], releases: Mapping[str, datetime]
) -> dict[str, dg.MetadataValue]:
    """A picture for each metric, with all of its series."""
    metrics = list(dict.fromkeys(trend.metric for trend in trends))
    return {
        f"plot_{metric}": plot(
            trend_plot(metric, [each for each in trends if each.metric == metric], releases)
        )
        for metric in metrics[:_MOST_PLOTS]
    }


def anomaly_plots(client: Client, day: date, found: Sequence[Found]) -> dict[str, dg.MetadataValue]:
    """A picture of two weeks of each metric that was out of the ordinary."""
    metrics = sorted({(each.model, each.metric) for each in found})
    return {
        f"plot_{model}_{metric}": plot(
            anomaly_plot(
                f"{metric} of {model}",
                read_series(client, model, metric, day - 13 * DAY, day),
                [each for each in found if (each.model, each.metric) == (model, metric)],
            )
        )
        for model, metric in metrics[:_MOST_PLOTS]
    }


def relation_of(client: Client, name: str) -> dict[str, Any]:
    """What the UI shows of a table of ClickHouse."""
    described_table = client.query(f"describe table {name}").result_rows
    ((rows,),) = client.query(f"select count() from {name}").result_rows  # noqa: S608
    columns = [(column, kind) for column, kind, *_ in described_table]
    return described(f"{client.database}.{name}", columns, rows)


def sizes_shown(sizes: Sizes) -> dict[str, Any]:
    """What the store of metrics takes: its last chunks, its rollups, and what compression saved."""
    chunks = [
        {
            "chunk": each.name,
            "rows": each.rows,
            "bytes": each.stored,
            "before_compression": each.raw,
            "compressed": each.is_compressed,
        }
        for each in (*sizes.points[-_MOST_CHUNKS:], *sizes.rollups)
    ]
    compressed = sum(each.rows for each in sizes.points if each.is_compressed)
    return {
        "points": sizes.rows,
        "bytes": sizes.stored,
        "share_of_rows_as_written": sizes.stored / max(sizes.written, 1),
        "compressed_share": compressed / max(sizes.rows, 1),
        "chunks": table(chunks),
    }
