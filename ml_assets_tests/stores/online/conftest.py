from pathlib import Path

import pytest

from ml_assets_tests.stores.online.opening import STORES, Open, opener


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same store every time it is called."""
    return opener(request.param, request, tmp_path)
