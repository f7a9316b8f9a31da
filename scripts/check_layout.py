"""Count modules and SQL files; exit code 1 names what is too many.

A room that has outgrown its number gets sub-rooms, with layers of their own in `pyproject.toml`.
Migrations do not count: what was applied somewhere is never joined with another.
"""

from __future__ import annotations

import sys
from pathlib import Path

MODULES_OF_A_ROOM = 12
MODULES_OF_SEARCH = 45
SQL_FILES = 32


def modules(folder: Path) -> list[Path]:
    """The modules that lie in `folder` itself, without its `__init__`."""
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def excesses(project: Path) -> list[str]:
    """One line for everything of which `project` has too many."""
    package, sql = project / "ml_assets", project / "sql"
    rooms = sorted({path.parent for path in package.rglob("*.py")} - {package})
    lines = [
        f"{room.relative_to(project)} has {count} modules; a room has at most {MODULES_OF_A_ROOM}:"
        " split it into sub-rooms, or join modules"
        for room in rooms
        if (count := len(modules(room))) > MODULES_OF_A_ROOM
    ]
    in_search = sum(len(modules(room)) for room in rooms if room.is_relative_to(package / "search"))
    if in_search > MODULES_OF_SEARCH:
        lines.append(f"ml_assets/search has {in_search} modules; at most {MODULES_OF_SEARCH} fit")
    statements = [file for file in sql.rglob("*.sql") if file.parent.name != "migrations"]
    if (count := len(statements)) > SQL_FILES:
        lines.append(
            f"sql/ has {count} files of statements; at most {SQL_FILES} fit: put statements of a"
            " room into its one file, each under a line `-- name: …`"
        )
    return lines


if __name__ == "__main__":
    found = excesses(Path(__file__).resolve().parents[1])
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    sys.exit(bool(found))
