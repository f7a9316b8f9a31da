"""The code location."""

import os

from ml_assets.defs.build import build_definitions
from ml_assets.defs.instance import store_batches_at_once

os.umask(0o077)  # what a run writes under the home is for its owner alone

store_batches_at_once()

defs = build_definitions()
