import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg

from ml_assets.defs.instance import end_dead_runs

SLEEPER = """
import time
import dagster as dg

@dg.asset(pool="duckdb")
def sleeper():
    print("asleep", flush=True)
    time.sleep(60)

dg.materialize([sleeper], instance=dg.DagsterInstance.get())
"""


def test_a_killed_run_is_marked_as_failed_and_keeps_no_slot(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nconcurrency: {pools: {default_limit: 1, granularity: op}}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    with process, dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        compute_logs = tmp_path / "storage"
        while not any("asleep" in path.read_text() for path in compute_logs.rglob("*.out")):
            assert process.poll() is None
            time.sleep(0.05)
        assert end_dead_runs(instance) == []
        process.kill()
        process.wait()
        (run,) = instance.get_runs()
        assert instance.event_log_storage.get_concurrency_info("duckdb").active_slot_count == 1

        assert end_dead_runs(instance) == [run.run_id]

        ended = instance.get_run_by_id(run.run_id)
        assert ended
        assert ended.status == dg.DagsterRunStatus.FAILURE
        assert instance.event_log_storage.get_concurrency_info("duckdb").active_slot_count == 0
        assert end_dead_runs(instance) == []
