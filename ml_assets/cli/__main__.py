"""`python -m ml_assets.cli` is `ml-assets`."""

from ml_assets.cli import app

app()
