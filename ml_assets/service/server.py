"""Starting the service: on this machine alone unless there are keys, in one process or several."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.answers.llm import language_model
from ml_assets.errors import SettingError
from ml_assets.service.admission.keys import read_keys
from ml_assets.settings import Settings, secret
from ml_assets.stores import postgres
from ml_assets.stores.folders import folder

if TYPE_CHECKING:
    from fastapi import FastAPI

_SWITCH_SECONDS = 0.0005
"""A request goes through three threads: a tenth of what Python lets each of them run on."""


def serve(
    settings: Settings, host: str, port: int, processes: int, tell: Callable[[str], None]
) -> None:
    """Answer until a signal ends it; what has begun is answered to its end.

    `tell` is given the address of its pages, once it may answer there.

    Raises:
        NothingToDoError: there is no home yet.
        SettingError: the address is not of this machine alone, and no key was made; or a language
            model is named by half.
        StoreError: PostgreSQL does not answer.
    """
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from ml_assets.service.admission.connections import BOUNDS

    refuse_open_door(settings, host)
    language_model(settings)
    tell(f"http://{host}:{port}/")
    counted = _metrics_folder(settings) if processes > 1 else None
    config = uvicorn.Config(
        partial(application, settings, f"{host}:{port}", counted),
        factory=True,
        **BOUNDS,
        host=host,
        port=port,
        workers=processes,
        log_config=None,
        access_log=False,  # it writes URLs, in which queries stand
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=ceil(settings.service_timeout) + 1,
        timeout_worker_healthcheck=60,
    )
    if processes == 1:
        # uvicorn raises the signal again when it has ended: an end in order stops PostgreSQL, too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with suppress(KeyboardInterrupt):  # Ctrl-C is how a person ends it
            uvicorn.Server(config).run()
    else:
        Multiprocess(config, [config.bind_socket()]).run()


def application(settings: Settings, address: str, counted: Path | None) -> FastAPI:
    """What a process answers with; `counted` is the folder of the metrics of all processes."""
    from ml_assets.service.app import create_app, log_json
    from ml_assets.service.metrics import Metrics

    log_json()
    sys.setswitchinterval(_SWITCH_SECONDS)
    return create_app(settings, address, Metrics(counted))


def is_loopback(host: str) -> bool:
    """Whether an address is seen by this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_open_door(settings: Settings, host: str) -> None:
    """Refuse to listen where other machines could ask, while there is no key.

    Raises:
        NothingToDoError: there is no home yet.
        SettingError: there is no key.
        StoreError: PostgreSQL does not answer.
    """
    postgres.refuse_absent(secret(settings.reading_url), settings.home)
    with postgres.connect_reader(settings) as connection:
        keys = [key for key in read_keys(connection) if key.revoked_at is None]
    if not keys and not is_loopback(host):
        raise SettingError(
            f"{host} is seen by other machines, and there is no key",
            where="--host",
            do="Run `ml-assets keys create NAME` first, or leave the option out",
        )


def _metrics_folder(settings: Settings) -> Path:
    """An empty folder, of which the library learns when the processes import it."""
    path = settings.home / "service" / "metrics"
    shutil.rmtree(path, ignore_errors=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder(path))
    return path
