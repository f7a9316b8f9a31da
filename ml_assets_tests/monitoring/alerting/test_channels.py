"""The channels, against real servers of HTTP and SMTP, and files."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from ml_assets.errors import ChannelError, SettingError
from ml_assets.monitoring.alerting.channels import CHANNELS, send
from ml_assets.monitoring.alerting.channels.webhook import signed
from ml_assets.settings import Settings, load_settings
from ml_assets_tests.monitoring.alerting.examples import MESSAGE
from ml_assets_tests.monitoring.alerting.receiving import (
    PASSWORD,
    Received,
    certificate,
    http_server,
    smtp_server,
)

KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
TO_ANN = "email:ann@example.org"


@pytest.fixture
def server() -> Iterator[Received]:
    with http_server() as received:
        yield received


def webhook(url: str) -> Settings:
    return load_settings(alert_webhook_url=url, alert_webhook_secret=KEY, alert_slack_url=url)


def test_a_webhook_is_signed_with_id_and_time(server: Received) -> None:
    for _ in range(2):
        send(MESSAGE, "webhook", webhook(server.url))
    for headers, body in server.requests:
        at = int(headers["webhook-timestamp"])
        assert abs(at - time.time()) < 60
        assert headers["webhook-id"] == MESSAGE.delivery_id
        assert headers["content-type"] == "application/json"
        content = f"{MESSAGE.delivery_id}.{at}.".encode() + body
        digest = hmac.new(b"k" * 32, content, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
        assert json.loads(body) == {
            "id": MESSAGE.delivery_id,
            "type": "alert.opened",
            "timestamp": "2026-03-05T12:00:00+00:00",
            "rule": "model_is_slow",
            "subject": "classifier",
            "severity": "critical",
            "value": 731.5,
            "message": MESSAGE.text,
        }


def test_a_signature_is_that_of_the_specification() -> None:
    """The example of standardwebhooks.com, which all of its libraries are tested with."""
    headers = signed(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_slack_is_told_in_text_without_links_or_calls(server: Received) -> None:
    text = "critical: x/<!channel> & <http://evil|here>"
    send(replace(MESSAGE, text=text), "slack", webhook(server.url))
    ((headers, body),) = server.requests
    assert "webhook-signature" not in headers
    escaped = "critical: x/&lt;!channel&gt; &amp; &lt;http://evil|here&gt;"
    assert json.loads(body) == {"text": f"{escaped} [{MESSAGE.delivery_id}]"}


@pytest.mark.parametrize("recipient", ["webhook", "slack"])
@pytest.mark.parametrize("status", [302, 400, 500])
def test_what_is_refused_or_sent_elsewhere_has_failed(
    server: Received, recipient: str, status: int
) -> None:
    server.status, server.headers = status, {"Location": server.url}
    with pytest.raises(ChannelError, match=f"_URL: it answers {status}") as failed:
        send(MESSAGE, recipient, webhook(server.url))
    assert len(server.requests) == 1
    assert "T0KEN" not in str(failed.value)
    assert failed.value.pause is None


def test_a_server_that_is_busy_says_for_how_long(server: Received) -> None:
    server.status, server.headers = 429, {"Retry-After": "120"}
    with pytest.raises(ChannelError) as failed:
        send(MESSAGE, "slack", webhook(server.url))
    assert failed.value.pause == 120.0


@pytest.mark.parametrize("recipient", ["webhook", "slack"])
def test_a_server_that_is_away_has_failed_and_its_url_is_told_nobody(
    recipient: str, caplog: pytest.LogCaptureFixture
) -> None:
    with http_server() as gone:
        pass
    with caplog.at_level(logging.DEBUG), pytest.raises(ChannelError) as failed:
        send(MESSAGE, recipient, webhook(gone.url))
    assert "it does not answer (ConnectError)" in str(failed.value)
    assert "T0KEN" not in str(failed.value)


def test_urls_are_not_logged(server: Received, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        send(MESSAGE, "slack", webhook(server.url))
    assert "T0KEN" not in caplog.text


def smtp(port: int, user: str = "", scheme: str = "smtp", host: str = "127.0.0.1") -> Settings:
    login = f"{user}:{quote(PASSWORD, safe='')}@" if user else ""
    url = f"{scheme}://{login}{host}:{port}"
    return load_settings(alert_smtp_url=url, alert_sender="alerts@example.org")


def test_an_email_is_sent_over_tls_by_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with smtp_server(context, auth_required=True) as server:
        send(MESSAGE, TO_ANN, smtp(server.port, "me"))
        with pytest.raises(ChannelError, match="ML_ASSETS_ALERT_SMTP_URL: ") as failed:
            send(MESSAGE, TO_ANN, smtp(server.port))
        assert "Authentication" in str(failed.value)
    assert (server.users, server.over_tls) == (["me"], [True])
    (mail,) = server.mails
    assert (mail["From"], mail["To"]) == ("alerts@example.org", "ann@example.org")
    assert mail["Subject"].startswith("[ml-assets] critical: model_is_slow/classifier: p95_ms")
    assert mail["Message-ID"] == f"<{MESSAGE.delivery_id}@ml-assets>"
    assert mail["Date"] == "Thu, 05 Mar 2026 12:00:00 +0000"
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    first, *others = body.decode().splitlines()
    assert first == MESSAGE.text
    assert {"severity: critical", f"id: {MESSAGE.delivery_id}"} <= set(others)


def test_a_wrong_password_is_told_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with smtp_server(context, auth_required=True) as server:
        url = f"smtp://me:hunter2@127.0.0.1:{server.port}"
        with pytest.raises(ChannelError, match="it answers 535 ") as failed:
            send(MESSAGE, TO_ANN, load_settings(alert_smtp_url=url))
    assert "hunter2" not in str(failed.value)
    assert server.mails == []


def test_a_server_that_is_not_trusted_is_told_nothing(tmp_path: Path) -> None:
    context, _ = certificate(tmp_path)
    with smtp_server(context) as server, pytest.raises(ChannelError, match="CERTIFICATE_VERIFY"):
        send(MESSAGE, TO_ANN, smtp(server.port, "me"))
    assert (server.mails, server.users) == ([], [])


def test_without_tls_only_this_machine_is_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    from ml_assets.monitoring.alerting.channels import email

    with smtp_server() as server:
        send(MESSAGE, TO_ANN, smtp(server.port))
        assert server.over_tls == [False]
        monkeypatch.setattr(email, "_HERE", ())
        with pytest.raises(ChannelError, match="STARTTLS extension not supported"):
            send(MESSAGE, TO_ANN, smtp(server.port))
    assert len(server.mails) == 1


def test_a_mail_that_is_refused_has_failed() -> None:
    with smtp_server() as server:
        server.refusal = "451 the disk is full"
        with pytest.raises(ChannelError, match="it answers 451 the disk is full"):
            send(MESSAGE, TO_ANN, smtp(server.port))
    with pytest.raises(ChannelError, match="refused"):
        send(MESSAGE, TO_ANN, smtp(server.port))


def test_a_name_with_lines_makes_no_header() -> None:
    with smtp_server() as server:
        send(replace(MESSAGE, text="a\nBcc: eve@example.org\n\nb"), TO_ANN, smtp(server.port))
    (mail,) = server.mails
    assert mail["Bcc"] is None
    assert mail["Subject"] == "[ml-assets] a Bcc: eve@example.org b"


def lines(file: Path) -> list[object]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_file_has_a_line_for_each(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    send(MESSAGE, "file", settings)
    send(MESSAGE, "file", settings)
    file = tmp_path / "alerts.jsonl"
    assert lines(file) == [MESSAGE.as_json()] * 2
    assert file.stat().st_mode & 0o777 == 0o600
    send(MESSAGE, f"file:{tmp_path / 'other.jsonl'}", settings)
    assert lines(tmp_path / "other.jsonl") == [MESSAGE.as_json()]


def test_a_line_that_was_cut_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    file.write_text('{"id": "cut')
    send(MESSAGE, "file", load_settings(home=tmp_path))
    cut, whole = file.read_text().splitlines()
    assert cut == '{"id": "cut'
    assert json.loads(whole) == MESSAGE.as_json()


def test_a_file_that_cannot_be_written_has_failed(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match=r"none/a\.jsonl: .*No such file.*Check its permissions"):
        send(MESSAGE, f"file:{tmp_path}/none/a.jsonl", load_settings(home=tmp_path))


@pytest.mark.parametrize(
    ("kind", "severity", "level"),
    [
        ("opened", "critical", logging.CRITICAL),
        ("opened", "info", logging.INFO),
        ("resolved", "critical", logging.INFO),
    ],
)
def test_the_log_has_the_level_of_the_severity(
    caplog: pytest.LogCaptureFixture, kind: str, severity: str, level: int
) -> None:
    told = replace(MESSAGE, kind=kind, severity=severity)  # type: ignore[arg-type]
    with caplog.at_level(logging.DEBUG, "ml_assets.alerts"):
        send(told, "log", load_settings())
    assert caplog.record_tuples == [
        ("ml_assets.alerts", level, f"{MESSAGE.text} [{MESSAGE.delivery_id}]")
    ]


def test_a_recipient_that_is_none_any_more_is_refused() -> None:
    assert [*CHANNELS] == ["log", "file", "webhook", "email", "slack"]
    for recipient in ("pager", "webhook", TO_ANN):
        with pytest.raises(SettingError):
            send(MESSAGE, recipient, load_settings())
