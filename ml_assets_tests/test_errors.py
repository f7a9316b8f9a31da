"""What errors show of URLs."""

import pytest

from ml_assets.errors import UserError, mask_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:p@ss@h:1/0", "redis://:***@h:1/0"),
        ("postgresql://me:a:b@h/d", "postgresql://me:***@h/d"),
        ("redis://h:1?db=1&password=x@y&ssl=1", "redis://h:1?db=1&password=***&ssl=1"),
        ("host=h PASSWORD=zzz user=me", "host=h PASSWORD=*** user=me"),
        ("http://u:p@h http://v:q@g", "http://u:***@h http://v:***@g"),
        ("https://h:80/a@b", "https://h:80/a@b"),
        ("me@h and postgresql://me@h/d", "me@h and postgresql://me@h/d"),
    ],
)
def test_passwords_of_urls_are_masked_and_the_rest_is_kept(url: str, shown: str) -> None:
    assert mask_secrets(url) == shown
    assert str(UserError(f"no {url} here")) == f"no {shown} here"


def test_an_error_says_what_where_and_what_to_do() -> None:
    do = "Write redis://user:password@host:6379/0"
    assert str(UserError("not a URL", where="REDIS_URL", do=do)) == f"REDIS_URL: not a URL. {do}"
