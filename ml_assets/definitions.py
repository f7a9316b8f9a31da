"""The code location."""

import os

from ml_assets.defs.build import build_definitions

os.umask(0o077)  # what a run writes under the home is for its owner alone

defs = build_definitions()
