"""The README says what is so."""

import re
import runpy
import shlex

from typer.testing import CliRunner

from ml_assets.cli import app
from ml_assets.settings import PROJECT, Settings

README = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCKS = runpy.run_path(str(PROJECT / "scripts" / "run_readme.py"))["blocks"](README)


def test_every_setting_is_in_the_table_and_no_other() -> None:
    shown = set(re.findall(r"^\| `([A-Z_]+)` \|", README, flags=re.MULTILINE))
    known = {
        str(field.validation_alias or f"ML_ASSETS_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }
    assert shown == known


def test_ci_runs_the_blocks() -> None:
    script = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test\n" in script
    assert 'scripts/run_readme.py "make test"' in script
    assert len(BLOCKS) >= 4
    assert BLOCKS[0].split("\n")[:2] == ["make run", "make test"]


def test_every_command_of_ours_exists() -> None:
    known = {
        command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    }
    used = {
        shlex.split(line)[1]
        for block in BLOCKS
        for line in block.splitlines()
        if line.startswith(".venv/bin/ml-assets")
    }
    assert used
    assert used <= known


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (PROJECT / target).exists(), target


def test_the_help_says_what_has_ranges() -> None:
    """That a date in the metadata is a text, and refused, is tested where filters are parsed."""
    page = CliRunner().invoke(app, ["search", "--help"]).output
    words = " ".join(re.sub(r"[│╭╰╮╯─]", " ", page).split())
    assert "Ranges are on numbers of the metadata and on created_at" in words
    assert "the numbers of the metadata and `created_at`" in " ".join(README.split())


def test_help_is_worth_reading() -> None:
    runner = CliRunner()
    overview = runner.invoke(app, ["--help"]).output
    for command in (
        *("run", "plan", "search", "predict", "status", "history", "ui"),
        *("search-generations", "publish", "rollback"),
    ):
        assert command in overview
        page = runner.invoke(app, [command, "--help"]).output
        assert "Usage:" in page
        assert len(page.split()) > 15
