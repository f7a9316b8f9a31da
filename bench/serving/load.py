"""Load by wrk: requests with bodies of their own, and how long their answers took."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCRIPT = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local count = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
function request()
  count = count + 1
  return wrk.format(nil, nil, nil, bodies[count %% #bodies + 1])
end
function done(summary, latency)
  local failed = summary.errors.status + summary.errors.timeout + summary.errors.read
  io.write(string.format('{"p50_ms": %%f, "p99_ms": %%f, "per_second": %%f, "failed": %%d}\\n',
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.requests / summary.duration * 1e6, failed))
end
"""


@dataclass(frozen=True)
class Load:
    """What clients ask at a path, each body once in a round."""

    what: str
    path: str
    clients: int
    bodies: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """What they were answered by one of the services."""

    name: str
    what: str
    clients: int
    p50_ms: float
    p99_ms: float
    per_second: float


def ask(name: str, url: str, load: Load, seconds: int, folder: Path) -> Row:
    """Ask for so many seconds.

    Raises:
        SystemExit: wrk says no figures, or a request failed: its answer came sooner than others.
    """
    lines, script = folder / "bodies.jsonl", folder / "load.lua"
    lines.write_text("".join(json.dumps(body) + "\n" for body in load.bodies), encoding="utf-8")
    script.write_text(_SCRIPT % lines)
    options = {"-t": 1, "-c": load.clients, "-d": f"{seconds}s", "--timeout": "10s", "-s": script}
    words = ["wrk", *(str(word) for pair in options.items() for word in pair), url + load.path]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = re.search(r"^\{.*\}$", done.stdout, re.MULTILINE)
    if not found:
        sys.exit(done.stdout + done.stderr)
    measured = json.loads(found[0])
    if failed := measured.pop("failed"):
        sys.exit(f"{failed} requests failed: {name}, {load.what}, {load.clients} clients")
    return Row(name, load.what, load.clients, **measured)
