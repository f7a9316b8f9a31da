"""The code location of the server mode, whose runs stop once at a point that the test names.

The folder `hold` of the home is the switch: a file there with the name of a stage is renamed by the
first run that comes to it, which then waits until that file is gone. All is looked at more often,
and the families alone that are quick are trained.
"""

import os
import time
from functools import partial
from multiprocessing import parent_process
from pathlib import Path

from ml_assets.definitions import defs
from ml_assets.defs.sensors import automation, collections_sensor, labels_sensor, workers_sensor
from ml_assets.settings import load_settings
from ml_assets_tests.corpus import FAST
from ml_assets_tests.integration.crashing import wrap
from ml_assets_tests.integration.forking import train_only

__all__ = ["defs"]

STAGES = {
    "documents": "documents.refresh:_apply_chunks",
    "embeddings": "embeddings.refresh:_write",
    "indexes": "search.indexes.chroma.index:ChromaIndex.upsert",
    "evaluation": "search.evaluation.measuring:evaluate_generation",
    "features": "features.online:_rows",
    "training": "training.candidates:_train",
    "promotion": "registry.promotion:promotion_gates",
}
"""In the middle of each stage, when some is written and some is not."""

STARTING = "starting"
"""When a worker is there that has not marked its run yet."""


def hold(folder: Path, stage: str) -> None:
    """Wait here, if the test asks for it."""
    mine = folder / f"{stage}.{os.getpid()}"
    try:
        (folder / stage).rename(mine)
    except FileNotFoundError:
        return
    while mine.exists():
        time.sleep(0.02)


for sensor in (automation, collections_sensor, labels_sensor, workers_sensor):
    vars(sensor)["_min_interval"] = 5

train_only(FAST)

if parent_process():  # a worker; the code server has none
    hold(load_settings().home / "hold", STARTING)

for name, function in STAGES.items():
    wrap(function, before=partial(hold, load_settings().home / "hold", name))
