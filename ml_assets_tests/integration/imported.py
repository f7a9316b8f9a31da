"""What a whole run imports, but what starts threads: they would not be there after a fork."""

import gc
import importlib
import warnings

from ml_assets.defs import build
from ml_assets.settings import load_settings
from ml_assets.stores.mlflow.client import import_mlflow
from ml_assets.stores.mlflow.models import import_skops
from ml_assets_tests.integration import killing

__all__ = ["killing"]

build.build_definitions(load_settings())  # imports the modules of all assets and checks

import_mlflow()
import_skops()

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for name in (
        *("chromadb", "clickhouse_connect", "matplotlib.figure", "pandas", "pyarrow", "skl2onnx"),
        *("sklearn.ensemble", "sklearn.neural_network", "tantivy", "tokenizers"),
    ):
        importlib.import_module(name)

gc.collect()
gc.freeze()  # no child looks through all that, or gets a copy of it
