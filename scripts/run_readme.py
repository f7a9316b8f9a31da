"""Run every `sh` block of README.md as written, each in a shell of its own; stop at a failure.

`python scripts/run_readme.py [COMMAND …]` leaves out the commands that are named: CI has run them
already. Standard library only.
"""

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def blocks(text: str) -> list[str]:
    """The contents of the fenced blocks marked `sh`, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def main(left_out: set[str]) -> None:
    """Run the blocks, showing each command before its output."""
    for block in blocks((PROJECT / "README.md").read_text(encoding="utf-8")):
        lines = [line for line in block.splitlines() if line not in left_out]
        command = ["bash", "-euo", "pipefail", "-x", "-c", "\n".join(lines)]
        code = subprocess.run(command, cwd=PROJECT, check=False).returncode
        if code:
            sys.exit(f"README.md: exit code {code} of\n{block}")


if __name__ == "__main__":
    main(set(sys.argv[1:]))
