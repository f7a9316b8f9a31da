"""How soon a new line of a file is found, while `ml-assets ui` follows the file."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from bench import corpus, ours
from bench.measure import BIN, PROJECT, clean_environment, run, say
from bench.rows import Figure, Limit, Row
from ml_assets.session import Session, open_session
from ml_assets.settings import load_settings
from ml_assets_tests.integration.racing import Ui
from ml_assets_tests.servers import free_port

_LIMIT = Limit(plus=45)
_EVERY = 0.25
_TIMEOUT = 600


def measure(work: Path, texts: Sequence[corpus.Text], repetitions: int) -> list[Row]:
    """Bring up a deployment and its UI; add a line when all is at rest, and search for it."""
    ours.place(corpus.write(texts, work / "texts.jsonl"), work)
    environment = ours.environment(work)
    run([BIN / "ml-assets", "run"], environment, work / "command.log")
    settings = load_settings(home=work / "home", source=environment["ML_ASSETS_SOURCE"])
    seconds = []
    with _served(environment, work / "ui.log") as ui, open_session(settings) as session:
        for number in range(repetitions):
            ui.wait_until_at_rest()
            seconds.append(_until_found(session, ours.source_file(work), number))
            say(f"  found after {seconds[-1]:.1f} s")
    what = f"a new line under `ml-assets ui`, {len(texts):,} documents, from the edit to a hit"
    return [Row(what, Figure("ml_assets", tuple(seconds)), limit=_LIMIT)]


def _until_found(session: Session, file: Path, number: int) -> float:
    word = f"zyx{number}wvu"
    row = {"id": word, "title": "A new line", "text": f"It has the word {word}."}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
    began = time.perf_counter()
    while word not in [hit.document_id for hit in session.search(word).hits]:
        assert time.perf_counter() < began + _TIMEOUT, f"{word} is not found"
        time.sleep(_EVERY)
    return time.perf_counter() - began


@contextmanager
def _served(environment: Mapping[str, str], log: Path) -> Iterator[Ui]:
    ui = Ui(free_port())
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [BIN / "ml-assets", "ui", "--port", str(ui.port)],
            cwd=PROJECT,
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            while not _answers(ui):
                assert process.poll() is None, log.read_text(errors="replace")
                time.sleep(1)
            yield ui
        finally:
            process.terminate()


def _answers(ui: Ui) -> bool:
    try:
        ui.ask("{ assetNodes { groupName } }")
    except (URLError, TimeoutError, ConnectionError):
        return False
    return True
