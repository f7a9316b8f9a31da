"""How long a year of days takes to compute anew, in one run of one process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import ours
from bench.measure import BIN, run, say
from bench.rows import Figure, Limit, Row
from ml_assets.stores import clickhouse, postgres

ASSETS = (
    "model_performance_hourly",
    "model_performance_daily",
    "anomalies",
    "search_quality_daily",
)
DAYS = 365
PREDICTIONS = 1_000_000
"""Of four versions of a model, spread over the year, every tenth with feedback."""

_LIMIT = Limit(plus=60)
_LOG = """
insert into prediction_log (day, writer, sequence, at, request_id, position, model, version,
    label, probability, latency_ms)
select toDate(time, 'UTC'), 'bench', number + 1, time, toString(number), 0, 'document_classifier',
    1 + intDiv(number * 4, {predictions:UInt32}), 'a', 0.85 + (cityHash64(number) % 1000) / 10000,
    4 + (cityHash64(number, 1) % 1000) / 100
from (
    select number, toDateTime64({begin:DateTime}, 6, 'UTC')
        + toIntervalMillisecond(toUInt64(number * {milliseconds:Float64})) as time
    from numbers({predictions:UInt32})
)
"""
_TOLD = """
insert into prediction_feedback (day, writer, sequence, at, request_id, position, correct)
select day, 'bench', sequence, at, request_id, 0, cityHash64(sequence, 2) % 10 < 9
from prediction_log where sequence % 10 = 0
"""
_MEASURED = """
insert into search_measurements (generation_id, measured_at, documents, queries, quality, recall,
    latency)
select 'bench', %(begin)s + day * interval '1 day', '', 100,
    '{"hybrid": {"ndcg@10": 0.5, "mrr@10": 0.6}, "vector": {"ndcg@10": 0.4, "mrr@10": 0.5}}',
    '{"pgvector": 0.99}', '{"p50_ms": 5, "p95_ms": 9}'
from generate_series(0, 364) as day
"""


def measure(work: Path, repetitions: int) -> list[Row]:
    """Fill a home with a year of predictions and searches, and compute all of its days."""
    work.mkdir(parents=True)
    environment = ours.environment(work)
    begin = (datetime.now(UTC) - timedelta(days=DAYS - 1)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    _fill(work / "home", begin)
    days = f"{begin:%Y-%m-%d}...{datetime.now(UTC):%Y-%m-%d}"
    command = [BIN / "dagster", "asset", "materialize", "-m", "ml_assets.definitions"]
    command += ["--select", ",".join(ASSETS), "--partition-range", days]
    seconds = []
    for _ in range(repetitions):
        seconds.append(run(command, environment, work / "backfill.log").seconds)
        say(f"  {DAYS} days in {seconds[-1]:.1f} s")
    what = f"a year of daily backfill in one run: {', '.join(ASSETS)}; {PREDICTIONS:,} predictions"
    figure = Figure("ml_assets", tuple(seconds), count=DAYS, things="days")
    return [Row(what, figure, limit=_LIMIT)]


def _fill(home: Path, begin: datetime) -> None:
    bound = {
        "begin": begin,
        "predictions": PREDICTIONS,
        "milliseconds": (datetime.now(UTC) - begin) / timedelta(milliseconds=1) / PREDICTIONS,
    }
    with clickhouse.connect(None, home) as client:
        client.command(_LOG, bound)
        client.command(_TOLD)
    with postgres.connect(None, home) as connection:
        connection.execute(_MEASURED, {"begin": begin})
