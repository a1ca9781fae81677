"""Ways by which a notice reaches its reader: a folder of files, or SMTP (RFC 5321).

A channel may deliver the same notice twice, where it could not be put on the books that it did;
the message bears the notice's id, by which a mail program or a person can tell.
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
    """One way out."""

    name: str
    needs_email: bool

    def send(self, message: Message) -> None:
        """Deliver a message; whatever is raised means: not yet."""


class FileChannel:
    """A file a notice, for the owner's eyes: for demonstrations, and for a gateway of one's own."""

    name = "file"
    needs_email = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, message: Message) -> None:
        """Write the message; the same notice is the same file."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{message.subject}\n\n{message.text}")
        os.replace(name, self._folder / f"{message.id}.txt")


class SmtpChannel:
    """Mail by a server of one's own."""

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
        # Left to itself, smtplib believes any certificate.
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
    """Return the channels of the settings; none where notices are read in the portal alone."""
    if settings.channel == "smtp":
        return (SmtpChannel(settings.smtp_url, settings.smtp_from),)
    return (FileChannel(folder),) if settings.channel == "file" else ()
