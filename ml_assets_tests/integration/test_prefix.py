"""All that names an asset names it behind the prefix of the deployment."""

import json
import subprocess
import sys
from pathlib import Path

from ml_assets_tests.integration.project import Project, write_rows

_LOOK = """
import json
import dagster as dg
from ml_assets.defs import schedules, sensors
from ml_assets.defs.build import build_definitions
from ml_assets.defs.instance import open_instance
from ml_assets.defs.unfinished import open_checks_of_documents, unfinished_collections
from ml_assets.settings import load_settings
from ml_assets_tests.graph import evaluate

defs = build_definitions()
graph = defs.resolve_asset_graph()
with open_instance(load_settings()) as instance:
    resources = defs.resources
    asked = {name: resources[name] for name in ("source", "postgres")}
    context = dg.build_schedule_context(instance=instance)
    nightly = [*evaluate(schedules.daily_refresh, context, **asked)]
    asked["encoder"] = resources["encoder"]
    context = dg.build_sensor_context(instance=instance)
    sensed = [*evaluate(sensors.collections_sensor, context, **asked)]
    cursor, requested = None, []
    for _ in range(2):
        tick = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
        cursor, requested = tick.cursor, [*requested, tick.total_requested]
    print(json.dumps({
        "keys": [key.to_user_string() for key in graph.get_all_asset_keys()],
        "checks": [key.to_user_string() for key in graph.asset_check_keys],
        "unfinished": sorted(unfinished_collections(instance, ["even", "odd"])),
        "open": len(open_checks_of_documents(instance)),
        "sensed": [type(item).__name__ for item in sensed],
        "nightly": [str(item.asset_selection) for item in nightly],
        "requested": requested,
    }))
"""


def test_a_prefix_is_before_every_asset_and_all_runs_with_it(
    tmp_path: Path, exported_models: Path
) -> None:
    home, prefix = tmp_path / "home", "team/ml"
    home.mkdir()
    (home / "models").symlink_to(exported_models)
    project = Project(home, tmp_path / "notes.jsonl")
    rows = [
        {"id": f"n{n}", "text": f"Note {n}.", "shelf": ["even", "odd"][n % 2]} for n in range(9)
    ]
    write_rows(project.file, rows)
    given = {"ML_ASSETS_KEY_PREFIX": prefix}
    assert "embedded new" in project.call("run", **given)
    assert "Nothing changed" in project.call("run", **given)
    status = json.loads(project.call("status", "--json", **given))
    assert {row["asset"].rpartition("/")[0] for row in status["checks"]} == {prefix}
    assert all(row["passed"] for row in status["checks"])
    looked = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _LOOK],
        env={**project.environment, **given},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    seen = json.loads(looked.stdout)
    assert all(name.startswith(f"{prefix}/") for name in seen["keys"] + seen["checks"])
    assert seen["unfinished"] == []
    assert seen["open"] == 0
    assert seen["sensed"] == ["SkipReason"]
    assert seen["nightly"] == ["None"]  # one range, and so the whole job
    assert seen["requested"] == [0, 0]
