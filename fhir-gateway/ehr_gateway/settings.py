"""The gateway's settings: read once at start, frozen, passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ehr_fhir.errors import Invalid
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.validation_settings import ValidationSettings
from ehr_gateway.access_limits import AccessLimits
from ehr_gateway.import_sources import ImportSources
from ehr_gateway.notice_settings import NoticeSettings

DEFAULT_BASE_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True)
class GatewaySettings:
    """The settings of one gateway process; see docs/reference/settings.md."""

    # The data folder: the database and the keys live in it.
    data: Path
    # A PostgreSQL URL; without one the database is a file in the data folder.
    database_url: str | None = None
    # The URL by which browsers and clients reach the gateway, without a final slash.
    base_url: str = DEFAULT_BASE_URL
    # How long an access token of a person or a program is good for.
    token_seconds: int = 3600
    # A log-in session ends when it is idle for so long, and so long after it began.
    login_idle_seconds: int = 1800
    login_absolute_seconds: int = 8 * 3600
    # Changing how one logs in needs a log-in no older than this.
    reauth_seconds: int = 600
    # The provider of the electronic identity (OpenID Connect): both endpoints and our client there.
    # Without them the simulator serves those who are enrolled with it.
    eid_authorize_url: str = ""
    eid_token_url: str = ""
    eid_client_id: str = "ehr-commons"
    eid_client_secret: str = ""
    # A refresh token ends when it is idle for so long, and the permission behind it after so long:
    # for apps that work while the person is away (`offline_access`) or present (`online_access`).
    refresh_idle_seconds: int = 30 * 86_400
    refresh_seconds: int = 90 * 86_400
    online_seconds: int = 12 * 3600
    # Who may register a client at /oauth/register: holders of a token from the administrator
    # (`token`), anybody (`open`), or nobody (`off`).
    registration: str = "token"
    # How apps name the platform to people (SMART's user-access brand): its name, the organisation's
    # website and logo, and where developers are told how to connect.
    brand_name: str = "eHR Commons"
    brand_website: str = ""
    brand_logo: str = ""
    brand_developers: str = ""
    # Under which ids the systems of organisations create patients' records: any that is free
    # (`any`), or those alone that their organisation gives (`own`).
    client_ids: str = "any"
    # Limits of access requests, and how patients are notified of them.
    limits: AccessLimits = field(default_factory=AccessLimits)
    notices: NoticeSettings = field(default_factory=NoticeSettings)
    # What a write is checked for beyond its structure.
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    # Hosts of subscriptions' endpoints, `name` or `name:port`, that may have private addresses and
    # plain http; a folder of more topics; seconds between two looks for what is to be told.
    subscription_hosts: tuple[str, ...] = ()
    subscription_topics: Path | None = None
    subscription_seconds: float = 0.25
    # Larger request bodies are refused with 413.
    max_body_bytes: int = 32 * 1024 * 1024
    # Where `$import` may fetch files, and how many bytes those of one import may have, unpacked.
    import_sources: ImportSources = field(default_factory=ImportSources)
    max_import_bytes: int = 4096 * 1024 * 1024
    # Bundles of more entries are refused with 413.
    max_bundle_entries: int = 10_000
    # Searches that must count or sort more matches than this are refused.
    max_search_rows: int = 1_000_000
    # Includes are cut short, with a warning, after so many rounds of `:iterate` or resources.
    max_include_rounds: int = 8
    max_included: int = 1000
    # Entries of a page of changes, at most.
    max_feed_entries: int = 5000
    # Where the audit log's tiles and checkpoints are exported to; in the data folder unless given.
    audit_log: Path | None = None
    # How often a checkpoint is signed; 0 is never.
    audit_checkpoint_seconds: int = 60
    # How often new and changed Patients are compared with the others; 0 is never.
    duplicates_seconds: int = 10
    # The folder of the journal; beside the data folder unless given. Best on another disk.
    journal: Path | None = None
    # The log's name in its checkpoints.
    audit_origin: str = f"{JURISDICTION.base.partition('://')[2]}/audit"

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or self.base_url[-1] == "/":
            raise Invalid("base_url must be an http or https address without a final slash.")
        for name in (
            "token_seconds", "login_idle_seconds", "login_absolute_seconds", "reauth_seconds",
            "max_body_bytes", "max_import_bytes", "max_bundle_entries", "max_search_rows",
            "max_include_rounds", "max_included",
            "max_feed_entries", "refresh_idle_seconds", "refresh_seconds", "online_seconds",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise Invalid(f"{name} must be at least 1.")

        addresses = [self.eid_authorize_url, self.eid_token_url]
        if any(addresses) and not all(_is_https(address) for address in addresses):
            raise Invalid("eid_authorize_url and eid_token_url must both be https addresses.")

        if self.registration not in ("token", "open", "off"):
            raise Invalid("registration must be token, open or off.")

        for name in ("brand_website", "brand_logo", "brand_developers"):
            if getattr(self, name) and not _is_https(getattr(self, name)):
                raise Invalid(f"{name} must be an https address.")

        if not self.brand_name.strip():
            raise Invalid("brand_name must be a name.")

        if self.client_ids not in ("any", "own"):
            raise Invalid("client_ids must be any or own.")

    @property
    def database(self) -> Path | str:
        """The SQLite file, or the URL."""
        return self.database_url or self.data / "ehr.db"

    @property
    def audit_folder(self) -> Path:
        """The folder of the exported audit log."""
        return self.audit_log or self.data / "audit-log"

    @property
    def journal_folder(self) -> Path:
        """The folder of the journal of what was closed."""
        data = self.data.resolve()
        return self.journal or data.with_name(f"{data.name}-journal")

    @property
    def metrics_folder(self) -> Path:
        """The folder in which the workers count requests."""
        return self.data / "metrics"

    @property
    def audit_spool(self) -> Path:
        """The folder of what is on its way into the audit log."""
        return self.data / "audit-spool"

    @property
    def keys(self) -> Path:
        """The folder of keys."""
        return self.data / "keys"

    @property
    def issuer(self) -> str:
        """The issuer in all metadata, tokens and answers: an address (RFC 8414, RFC 9207)."""
        return f"{self.base_url}/oauth"

    @property
    def token_address(self) -> str:
        """The address for which a program signs its assertions."""
        return f"{self.issuer}/token"

    @property
    def style_address(self) -> str:
        """Where an app that is launched finds our colours (SMART's `smart_style_url`)."""
        return f"{self.issuer}/smart-style.json"

    @property
    def brands_address(self) -> str:
        """Where apps learn how to name the platform (SMART's `user_access_brand_bundle`)."""
        return f"{self.fhir_base}/.well-known/user-access-brands.json"

    @property
    def fhir_base(self) -> str:
        """The base address of the FHIR service."""
        return f"{self.base_url}/fhir"


def _is_https(address: str) -> bool:
    # Plain HTTP only on this machine, as for trying another provider's simulator.
    parts = urlsplit(address)
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    return bool(parts.netloc) and (parts.scheme == "https" or (local and parts.scheme == "http"))
