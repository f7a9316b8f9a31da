"""The service over HTTP, end to end, by wrk: `python -m bench.serving --home HOME`.

The home holds a published search; titles and first words of its documents are the queries, each
asked once in a round, so that no cache answers. One table, and JSON with `--json FILE`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from bench.measure import BIN, PROJECT, clean_environment
from ml_assets.settings import load_settings
from ml_assets.stores import postgres

QUERIES = 2000
_WORDS = "select title, left(text, 80) from documents where deleted_at is null order by random()"
_SHARES = """
select 'metadata.' || key || ' = ' || value,
    count(*)::float8 / sum(count(*)) over (partition by key)
from documents, jsonb_each(metadata) as item where deleted_at is null group by key, value
union all
select 'collection = ' || to_json(collection)::text, count(*)::float8 / sum(count(*)) over ()
from documents where deleted_at is null group by collection
"""
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
class Row:
    """One load: how many clients, and what they were answered."""

    what: str
    clients: int
    p50_ms: float
    p99_ms: float
    per_second: float
    failed: int


def main() -> None:
    """Read the arguments, serve, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, default=Path(".ml_assets"))
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing (Debian: apt install wrk)")
    texts, filters = _questions(asked.home)
    loads: list[tuple[str, str, int, list[dict[str, Any]]]] = [
        ("search", "/v1/search", 1, [{"query": text} for text in texts]),
        ("search", "/v1/search", 16, [{"query": text} for text in texts]),
        *(
            (
                f"search, {share:.1%} pass",
                "/v1/search",
                1,
                [{"query": text, "filter": condition} for text in texts],
            )
            for share, condition in filters
        ),
        ("predict", "/v1/predict", 1, [{"texts": [text]} for text in texts]),
    ]
    with TemporaryDirectory() as folder, _serving(asked.home, asked.processes) as (url, process):
        rows = [
            Row(what, clients, **_load(url + path, bodies, clients, asked.seconds, Path(folder)))
            for what, path, clients, bodies in loads
        ]
        memory = sum(map(_pss, _family(process.pid)))
    for row in rows:
        print(
            f"{row.what:24} {row.clients:3} clients  p50 {row.p50_ms:7.1f} ms"
            f"  p99 {row.p99_ms:7.1f} ms  {row.per_second:7.1f}/s  failed {row.failed}"
        )
    print(f"memory of {asked.processes} processes: {memory / 2**20:.0f} MiB (PSS)")
    if asked.json:
        report = {"rows": [asdict(row) for row in rows], "memory_bytes": memory}
        asked.json.write_text(json.dumps(report, indent=1))


def _questions(home: Path) -> tuple[list[str], list[tuple[float, str]]]:
    """Queries, and the conditions that about a tenth and a hundredth of the documents pass."""
    with postgres.connect(None, load_settings(home=home).home) as connection:
        rows = connection.execute(_WORDS).fetchmany(QUERIES)
        shares = [(share, text) for text, share in connection.execute(_SHARES)]
    texts = [(title if place % 2 else text) or text for place, (title, text) in enumerate(rows)]
    wanted = [min(shares, key=lambda each: abs(each[0] - share)) for share in (0.1, 0.01)]
    return texts, wanted


@contextmanager
def _serving(home: Path, processes: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = "8137"
    program = str(BIN / "ml-assets")
    command = [program, "serve", "--port", port, "--processes", str(processes)]
    settings: Mapping[str, str] = {"ML_ASSETS_HOME": str(home.resolve())}
    with subprocess.Popen(
        command, cwd=PROJECT, env=clean_environment(settings), stderr=subprocess.DEVNULL
    ) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            while not _is_ready(url):
                if process.poll() is not None:
                    sys.exit(f"the service ended with {process.returncode}")
                time.sleep(0.2)
            time.sleep(3)  # the other process, too
            yield url, process
        finally:
            process.terminate()


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/ready", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _load(
    url: str, bodies: Sequence[Mapping[str, Any]], clients: int, seconds: int, folder: Path
) -> dict[str, Any]:
    lines, script = folder / "bodies.jsonl", folder / "load.lua"
    lines.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
    script.write_text(_SCRIPT % lines)
    threads = "1"
    words = ["wrk", "-t", threads, "-c", str(clients), "-d", f"{seconds}s", "-s", script, url]
    words[7:7] = ["--timeout", "10s"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    found = re.search(r"^\{.*\}$", done.stdout, re.MULTILINE)
    if not found:
        sys.exit(done.stdout + done.stderr)
    measured: dict[str, Any] = json.loads(found[0])
    return measured


def _family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


def _pss(pid: int) -> int:
    """Bytes of memory, what is shared divided among those who share it."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]


if __name__ == "__main__":
    main()
