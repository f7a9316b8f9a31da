"""The commands are imported as they are asked for."""

import subprocess
import sys

import typer

from ml_assets.cli.app import COMMANDS, app


def test_every_command_stands_under_its_module() -> None:
    group = typer.main.get_command(app)
    assert group.list_commands(None) == [*COMMANDS]  # type: ignore[attr-defined]
    commands = group.commands  # type: ignore[attr-defined]
    assert commands.keys() == COMMANDS.keys()
    for name, module in COMMANDS.items():
        for command in getattr(commands[name], "commands", {name: commands[name]}).values():
            assert command.callback.__module__ == f"ml_assets.cli.{module}", name


def _imported(*words: str) -> set[str]:
    """The modules of commands that are imported for a call."""
    script = (
        "import sys; from ml_assets.cli import app\n"
        "try: app(sys.argv[1:], standalone_mode=False)\n"
        "except Exception as error: print(error)\n"
        "print('\\nIMPORTED', *(n for n in sys.modules if n.startswith('ml_assets.cli.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True
    )
    return {
        name.removeprefix("ml_assets.cli.") for name in done.stdout.split("IMPORTED")[1].split()
    }


def test_a_command_imports_no_other() -> None:
    assert _imported("history", "--help") == {"app", "pipeline"}
    assert _imported("--help") >= {"app", *COMMANDS.values()}


def test_the_likest_of_all_commands_is_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ml_assets.cli", "serch"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "'search'" in done.stderr
