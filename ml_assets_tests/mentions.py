"""Commands, options and settings that a text mentions, and those that there are."""

import re
import shlex
from collections.abc import Iterator

import typer

from ml_assets.cli import app
from ml_assets.settings import Settings

_GROUP = typer.main.get_command(app)
COMMANDS = {name: _GROUP.get_command(None, name) for name in _GROUP.list_commands(None)}  # type: ignore[attr-defined]
SETTINGS = {
    str(field.validation_alias or f"ML_ASSETS_{name.upper()}"): name
    for name, field in Settings.model_fields.items()
}


def mentioned_settings(text: str) -> set[str]:
    """The environment variables of ours that a text names."""
    return set(re.findall(r"\b(ML_ASSETS_[A-Z_]+[A-Z]|[A-Z]+_URL|[A-Z_]+_URI)\b", text))


def mentioned_commands(text: str) -> Iterator[list[str]]:
    """The words after `ml-assets`: in a line of a fenced block, or between backquotes."""
    fenced = re.compile(r"^```.*\n((?s:.*?))^```$", re.MULTILINE)
    lines = [line for block in fenced.findall(text) for line in block.splitlines()]
    for line in [*re.findall(r"`([^`\n]+)`", fenced.sub("", text)), *lines]:
        # What a pipe goes on with is no word of ours.
        if called := re.search(r"(?:^|[ /])ml-assets ([^|]+)", line):
            yield shlex.split(called[1], comments=True)


def unknown_words(command: str, *words: str) -> set[str]:
    """What of a command there is not: the command itself, or options of it."""
    if command in ("--help", "--version"):
        return set()
    if command not in COMMANDS:
        return {command}
    chosen = COMMANDS[command]
    if words and not words[0].startswith("-") and (group := getattr(chosen, "commands", None)):
        if words[0] not in group:
            return {f"{command} {words[0]}"}
        chosen = group[words[0]]
    options = {option for part in chosen.params for option in part.opts}
    used = {word.partition("=")[0] for word in words if word.startswith("-") and len(word) > 1}
    return used - options - {"--help"}
