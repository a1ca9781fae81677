"""The settings of notices: by which channel they leave."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ehr_fhir.errors import Invalid

CHANNELS = ("none", "file", "smtp")


@dataclass(frozen=True)
class NoticeSettings:
    """How notices leave; whatever the channel, the reader finds them in the portal too."""

    # `file` writes each into the folder `notices` of the data folder; `smtp` sends mail.
    channel: str = "file"
    # smtp://, smtp+starttls:// or smtps://, with user and password where the server wants them.
    smtp_url: str = ""
    smtp_from: str = ""

    def __post_init__(self) -> None:
        if self.channel not in CHANNELS:
            raise Invalid(f"notice_channel must be one of {', '.join(CHANNELS)}.")
        if self.channel != "smtp":
            return
        parts = urlsplit(self.smtp_url)
        if parts.scheme not in ("smtp", "smtp+starttls", "smtps") or not parts.hostname:
            raise Invalid("smtp_url must be smtp://, smtp+starttls:// or smtps://host:port.")
        if "@" not in self.smtp_from or not self.smtp_from.isprintable():
            raise Invalid("smtp_from must be an e-mail address.")
