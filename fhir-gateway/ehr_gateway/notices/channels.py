"""Delivery channels of notices: files in a folder, or mail by SMTP (RFC 5321).

Delivery is at least once: a notice that was sent just before a crash is sent again. The message
carries the notice's id, by which mail programs and people recognise it.
"""

from __future__ import annotations

import os
import smtplib
import ssl
import tempfile
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ehr_gateway.notice_settings import NoticeSettings
from ehr_gateway.notices.messages import Message

__all__ = ["Channel", "FileChannel", "SmtpChannel", "open_channels"]

_TIMEOUT_SECONDS = 20


class Channel(Protocol):
    """A delivery channel."""

    name: str
    needs_email: bool

    def send(self, message: Message) -> None:
        """Deliver a message; any exception means that it is tried again."""


class FileChannel:
    """One file for each notice, for its owner only: for demonstrations, or to be fetched."""

    name = "file"
    needs_email = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, message: Message) -> None:
        """Write the message to a file named by its id, so that a repetition replaces it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{message.subject}\n\n{message.text}")
        os.replace(name, self._folder / f"{message.id}.txt")


class SmtpChannel:
    """Mail by an SMTP server."""

    name = "smtp"
    needs_email = True

    def __init__(self, address: str, sender: str) -> None:
        parts = urlsplit(address)
        self._scheme, self._host = parts.scheme, parts.hostname or ""
        self._port = parts.port or (465 if parts.scheme == "smtps" else 25)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._sender = sender

    def send(self, message: Message) -> None:
        """Send one mail."""
        mail = EmailMessage()
        mail["From"], mail["To"] = self._sender, str(message.email)
        mail["Subject"] = message.subject
        mail["Message-ID"] = f"<{message.id}@{self._sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        with self._open() as server:
            if self._user:
                server.login(self._user, self._password)
            server.send_message(mail)

    def _open(self) -> smtplib.SMTP:
        # Without a context smtplib accepts any certificate.
        trust = ssl.create_default_context()
        if self._scheme == "smtps":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=_TIMEOUT_SECONDS, context=trust)
        server = smtplib.SMTP(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        if self._scheme == "smtp+starttls":
            try:
                server.starttls(context=trust)
            except BaseException:
                server.close()
                raise
        return server


def open_channels(settings: NoticeSettings, folder: Path) -> tuple[Channel, ...]:
    """Return the channels of the settings; none if notices are read in the portal only."""
    if settings.channel == "smtp":
        return (SmtpChannel(settings.smtp_url, settings.smtp_from),)
    return (FileChannel(folder),) if settings.channel == "file" else ()
