"""By e-mail, through the SMTP server of the setting: smtp:// with STARTTLS, or smtps://.

Without TLS only a server of this machine is spoken to.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

from ml_assets.errors import ChannelError, SettingError, first_line
from ml_assets.monitoring.alerting.channels.contract import SECONDS, Channel, require
from ml_assets.monitoring.alerting.model import Message
from ml_assets.settings import Settings, secret

_URL = "ML_ASSETS_ALERT_SMTP_URL"
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}")
_HERE = ("localhost", "127.0.0.1", "::1")


def _check(address: str, settings: Settings) -> None:
    if not _ADDRESS.fullmatch(address):
        do = "Write it as email:ann@example.org"
        raise SettingError(f"{address!r:.100} is not an address", where="who", do=do)
    require(settings.alert_smtp_url, _URL, "email")


def _send(message: Message, address: str, settings: Settings) -> None:
    parts = urlsplit(secret(settings.alert_smtp_url) or "")
    host, tls = parts.hostname or "", ssl.create_default_context()
    try:
        if parts.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, parts.port or 465, timeout=SECONDS, context=tls
            )
        else:
            server = smtplib.SMTP(host, parts.port or 587, timeout=SECONDS)
        with server:
            server.ehlo()
            if parts.scheme == "smtp" and (server.has_extn("starttls") or host not in _HERE):
                server.starttls(context=tls)  # refused, where the server has it not
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(_mail(message, address, settings.alert_sender))
    except (OSError, smtplib.SMTPException, ValueError) as error:
        do = "Check host, port, user and password, and the certificate of the server"
        raise ChannelError(_reason(error), where=_URL, do=do) from None


def _mail(message: Message, address: str, sender: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, address
    mail["Subject"] = f"[ml-assets] {' '.join(message.text.split())[:150]}"
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{message.delivery_id}@ml-assets>"
    mail["Auto-Submitted"] = "auto-generated"
    fields = "\n".join(f"{name}: {value}" for name, value in message.as_json().items())
    mail.set_content(f"{message.text}\n\n{fields}\n")
    return mail


def _reason(error: Exception) -> str:
    """What a server said may be long."""
    said = first_line(error)
    if isinstance(error, smtplib.SMTPResponseException):
        answer = error.smtp_error
        text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
        said = f"it answers {error.smtp_code} {text}"
    return " ".join(said.split())[:200]


CHANNEL = Channel(_check, _send)
