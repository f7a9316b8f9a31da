"""Run every `sh` and `python` block of README.md and docs/ as written; stop at the first failure.

`python scripts/run_docs.py [COMMAND …]` leaves out the commands that are named: CI has run them
already. Each block runs in a process of its own, in the root of the checkout, on the home that the
README's first block fills. Other blocks say on their first line why they are not run. Standard
library only.
"""

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DOCUMENTS = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
_FENCE = re.compile(r"^```(\w*) ?(.*)\n((?s:.*?))^```$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block; `note` follows the language on its first line."""

    language: str
    note: str
    text: str

    def command(self, left_out: set[str]) -> list[str] | None:
        """The command that runs it; None when it is not to be run."""
        if self.language == "python":
            return [str(PROJECT / ".venv" / "bin" / "python"), "-c", self.text]
        if self.language != "sh":
            return None
        lines = [line for line in self.text.splitlines() if line not in left_out]
        return ["bash", "-euo", "pipefail", "-x", "-c", "\n".join(lines)]


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    return [Block(*match.groups()) for match in _FENCE.finditer(document)]


def main(left_out: set[str]) -> None:
    """Run the blocks, and show how long each document took."""
    for path in DOCUMENTS:
        started = time.monotonic()
        for block in blocks(path.read_text(encoding="utf-8")):
            command = block.command(left_out)
            if command and (code := subprocess.run(command, cwd=PROJECT, check=False).returncode):
                sys.exit(f"{path.name}: exit code {code} of\n{block.text}")
        print(f"== {path.name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(set(sys.argv[1:]))
