"""The code location."""

from ml_assets.defs.build import build_definitions

defs = build_definitions()
