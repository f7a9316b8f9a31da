"""Errors: what they show of URLs, and that each names the next step."""

import ast
import errno
from collections.abc import Iterator

import pytest

from ml_assets import errors
from ml_assets.errors import StoreError, UserError, mask_secrets
from ml_assets_tests.mentions import (
    SETTINGS,
    mentioned_commands,
    mentioned_settings,
    unknown_words,
)
from ml_assets_tests.paths import PROJECT

TREES = {
    str(file.relative_to(PROJECT)): ast.parse(file.read_text(encoding="utf-8"))
    for file in sorted((PROJECT / "ml_assets").rglob("*.py"))
}
WITHOUT_DO = {"IncompleteReadError", "DamagedStoreError"}
"""Their next step is their own."""


def test_a_full_disk_is_one_line_whoever_writes() -> None:
    told = pytest.raises(StoreError, match=r"^/x/y: No space left on device\. Make space")
    with told, errors.full_disks_told():
        raise OSError(errno.ENOSPC, "No space left on device", "/x/y")
    with pytest.raises(FileNotFoundError), errors.full_disks_told():
        raise FileNotFoundError(errno.ENOENT, "No such file")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:p@ss@h:1/0", "redis://:***@h:1/0"),
        ("postgresql://me:a:b@h/d", "postgresql://me:***@h/d"),
        ("redis://h:1?db=1&password=x@y&ssl=1", "redis://h:1?db=1&password=***&ssl=1"),
        ("host=h PASSWORD=zzz user=me", "host=h PASSWORD=*** user=me"),
        ("https://h/a.csv?X-Amz-Signature=x%2Fy&v=1", "https://h/a.csv?X-Amz-Signature=***&v=1"),
        ("https://h/a.csv%3Fsig=x", "https://h/a.csv%3Fsig=***"),
        ("https://h/a.csv?design=x&tokens=2", "https://h/a.csv?design=x&tokens=2"),
        ("http://u:p@h http://v:q@g", "http://u:***@h http://v:***@g"),
        ("https://h:80/a@b", "https://h:80/a@b"),
        ("not http://me:a/b@h:80/c, http://h", "not http://me:***@h:80/c, http://h"),
        ("redis://user:password@host@h:1/0", "redis://user:***@h:1/0"),
        ("me@h and postgresql://me@h/d", "me@h and postgresql://me@h/d"),
    ],
)
def test_passwords_of_urls_are_masked_and_the_rest_is_kept(url: str, shown: str) -> None:
    assert mask_secrets(url) == shown
    assert str(UserError(f"no {url} here", do="Go")) == f"no {shown} here. Go"


def test_an_error_says_what_where_and_what_to_do() -> None:
    do = "Write redis://user:password@host:6379/0"
    told = f"REDIS_URL: not a URL. {do}"
    assert str(UserError("not a URL", where="REDIS_URL", do=do)) == told
    # Also when it is the reason of another.
    assert str(UserError(told, where="collection a", do="Go")) == f"collection a: {told}. Go"


def constructed() -> Iterator[tuple[str, ast.Call]]:
    """Every place in the product that makes an error of the user's, with the call."""
    kinds = {name for name, kind in vars(errors).items() if _is_users(kind)} - WITHOUT_DO
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id=kind)) if kind in kinds:
                    yield f"{name}:{node.lineno}", node


def _is_users(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, UserError)


def test_every_error_names_the_next_step() -> None:
    without = []
    for place, call in constructed():
        do = next((word.value for word in call.keywords if word.arg == "do"), None)
        if do is None or (isinstance(do, ast.Constant) and not do.value):
            without.append(place)
    assert without == []


def test_settings_and_commands_that_the_code_names_exist() -> None:
    for place, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                others = {"ML_ASSETS", "MLFLOW_BACKEND_STORE_URI"}
                assert mentioned_settings(text) - others <= SETTINGS.keys(), place
                for words in mentioned_commands(text):
                    assert unknown_words(*words) == set(), (place, words)
