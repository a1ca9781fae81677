"""The gateway's settings: read once at start, frozen, passed down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ehr_fhir.errors import Invalid


@dataclass(frozen=True)
class GatewaySettings:
    """What the gateway needs to know of the place it runs in."""

    # The data folder: the database and the keys live in it.
    data: Path
    # A PostgreSQL URL; without one the database is a file in the data folder.
    database_url: str | None = None
    # The address by which browsers and clients reach it, without a final slash.
    base_url: str = "http://127.0.0.1:8080"
    # Names of the platform in its tokens. Not addresses: one platform may have several.
    issuer: str = "https://ehr-commons.hk/oauth"
    audience: str = "https://ehr-commons.hk/fhir"
    # How long an access token of a person or a program is good for.
    token_seconds: int = 3600
    # Larger request bodies are refused with 413.
    max_body_bytes: int = 32 * 1024 * 1024
    # Bundles of more entries are refused with 413.
    max_bundle_entries: int = 10_000
    # Searches that find more than this, to count or to put in order, are refused.
    max_search_rows: int = 1_000_000
    # Entries of a page of changes, at most.
    max_feed_entries: int = 5000

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or self.base_url[-1] == "/":
            raise Invalid("base_url must be an http or https address without a final slash.")
        for name in (
            "token_seconds", "max_body_bytes", "max_bundle_entries", "max_search_rows",
            "max_feed_entries",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise Invalid(f"{name} must be at least 1.")

    @property
    def database(self) -> Path | str:
        """The SQLite file, or the URL."""
        return self.database_url or self.data / "ehr.db"

    @property
    def keys(self) -> Path:
        """The folder of keys."""
        return self.data / "keys"

    @property
    def fhir_base(self) -> str:
        """The base address of the FHIR service."""
        return f"{self.base_url}/fhir"
