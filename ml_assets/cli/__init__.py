"""The command `ml-assets`: run the main job, search, predict, and see how things stand."""

from ml_assets.cli import pipeline, prediction, releases, search
from ml_assets.cli.app import app

__all__ = ["app", "pipeline", "prediction", "releases", "search"]
