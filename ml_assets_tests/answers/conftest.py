from collections.abc import Iterator

import pytest

from ml_assets_tests.answers.serving import LanguageServer, language_server


@pytest.fixture
def server() -> Iterator[LanguageServer]:
    with language_server() as opened:
        yield opened
