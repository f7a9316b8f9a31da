"""The documents say what is so: commands, options, settings, links. No test pins a sentence."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ml_assets.cli import app
from ml_assets.settings import Settings
from ml_assets_tests.mentions import (
    COMMANDS,
    SETTINGS,
    mentioned_commands,
    mentioned_settings,
    unknown_words,
)
from ml_assets_tests.paths import PROJECT

RUN_DOCS = runpy.run_path(str(PROJECT / "scripts" / "run_docs.py"))
PAGES = (*RUN_DOCS["DOCUMENTS"], PROJECT / "CHANGELOG.md", PROJECT / "CONTRIBUTING.md")
TEXTS = {str(page.relative_to(PROJECT)): page.read_text(encoding="utf-8") for page in PAGES}
BLOCKS = {name: RUN_DOCS["blocks"](text) for name, text in TEXTS.items()}


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 120


def test_ci_runs_the_commands_of_all_documents() -> None:
    script = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test\n" in script
    assert 'python3 scripts/run_docs.py "make test"' in script
    assert BLOCKS["README.md"][0].text.splitlines() == ["make run", "make test"]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_that_is_not_run_says_why(name: str) -> None:
    for block in BLOCKS[name]:
        assert (block.command(set()) is None) == bool(block.note), block.text


def test_blocks_are_run_by_their_language() -> None:
    text = "```sh\nmake run\nls -l\n```\n```python\n1 / 0\n```\n```console needs a key\nrm\n```\n"
    shell, python, console = RUN_DOCS["blocks"](text)
    assert shell.command({"make run"}) == ["bash", "-euo", "pipefail", "-x", "-c", "ls -l"]
    assert python.command(set())[1:] == ["-c", "1 / 0\n"]
    assert (console.command(set()), console.note) == (None, "needs a key")


def documented_settings() -> dict[str, str]:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", TEXTS["docs/settings.md"], re.MULTILINE)
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def test_every_setting_is_documented_and_no_other() -> None:
    assert documented_settings().keys() == SETTINGS.keys()


def test_every_extra_is_documented_and_no_other() -> None:
    section = TEXTS["docs/production.md"].partition("| extra |")[2].partition("\n\n")[0]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in row.split(", ")
    }
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert named == {f"`{name}`" for name in extras["optional-dependencies"]}


def test_the_documented_defaults_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in SETTINGS:
        monkeypatch.delenv(variable, raising=False)
    defaults = Settings()
    for variable, shown in documented_settings().items():
        name = SETTINGS[variable]
        field = Settings.model_fields[name]
        if code := re.fullmatch(r"`(.+)`", shown):
            same_again = Settings(**{name: code[1]})  # type: ignore[arg-type]
            assert getattr(same_again, name) == getattr(defaults, name), variable
        else:
            assert field.default in (None, "") or field.default_factory, variable


@pytest.mark.parametrize("name", TEXTS)
def test_every_setting_that_is_mentioned_exists(name: str) -> None:
    assert mentioned_settings(TEXTS[name]) - {"PIP_EXTRA_INDEX_URL"} <= SETTINGS.keys()


def test_commands_are_recognized() -> None:
    text = (
        "see `ml-assets plan`\n```sh\nA=1 .venv/bin/ml-assets search 'a b' --limit 3 # why\n```\n"
    )
    assert list(mentioned_commands(text)) == [["plan"], ["search", "a b", "--limit", "3"]]


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_and_option_exists(name: str) -> None:
    for words in mentioned_commands(TEXTS[name]):
        assert unknown_words(*words) == set(), words


def test_an_unknown_command_or_option_is_seen() -> None:
    assert unknown_words("serach", "x") == {"serach"}
    assert unknown_words("search", "x", "--limt=3", "--method", "vector") == {"--limt"}
    assert unknown_words("keys", "make", "ann") == {"keys make"}
    assert unknown_words("keys", "create", "ann", "--role", "viewer", "--onyl") == {"--onyl"}


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_links_and_anchors_lead_somewhere(name: str) -> None:
    here = PROJECT / name
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[name]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        page = here.parent / path if path else here
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), target


def test_every_page_is_linked_from_the_readme() -> None:
    linked = re.findall(r"\]\(([^)#]+)", TEXTS["README.md"])
    assert set(TEXTS) - {"README.md"} <= set(linked)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_worth_reading(command: str) -> None:
    runner = CliRunner()
    assert command in runner.invoke(app, ["--help"]).output
    page = runner.invoke(app, [command, "--help"]).output
    assert "Usage:" in page
    assert len(page.split()) > 15
