"""Every setting, read once at start: `ehr.toml` in the working folder, then `EHR_*` variables.

A wrong value is an error at start, never a silent default; so is an unknown name. Hand-written, as
the nearest name and the place of a fault belong into the message; pydantic-settings has neither.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ehr_fhir.errors import Invalid
from ehr_fhir.validation_settings import VALIDATION_MODES, parse_required_profiles

FILE = "ehr.toml"
PREFIX = "EHR_"
# Variables of single commands or of other packages, which are no settings.
OTHER_VARIABLES = frozenset({"EHR_GATEWAY", "EHR_JURISDICTION", "EHR_TOKEN", "EHR_TOKEN_FILE"})


@dataclass(frozen=True)
class Settings:
    """The settings of one process. docs/reference/settings.md explains each; a test checks it."""

    data: Path = Path("var")
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    database: str = "sqlite"
    public_url: str = ""
    trusted_proxies: str = "127.0.0.1,::1"
    token_seconds: int = 3600
    login_idle_seconds: int = 1800
    login_absolute_seconds: int = 28_800
    reauth_seconds: int = 600
    refresh_idle_seconds: int = 2_592_000
    refresh_seconds: int = 7_776_000
    online_seconds: int = 43_200
    registration: str = "token"
    client_ids: str = "any"
    brand_name: str = "eHR Commons"
    brand_website: str = ""
    brand_logo: str = ""
    brand_developers: str = ""
    validation: str = "off"
    validation_invariants: bool = True
    validation_profiles: str = ""
    eid_authorize_url: str = ""
    eid_token_url: str = ""
    eid_client_id: str = "ehr-commons"
    eid_client_secret: str = ""
    subscription_hosts: str = ""
    subscription_topics: str = ""
    max_body_mb: int = 32
    import_hosts: str = ""
    import_max_mb: int = 4096
    max_bundle_entries: int = 10_000
    max_search_rows: int = 1_000_000
    max_include_rounds: int = 8
    max_included: int = 1000
    audit_log: str = ""
    audit_checkpoint_seconds: int = 60
    duplicates_seconds: int = 10
    withheld_marker: str = "show"
    step_up_hours: int = 720
    emergency_hours: int = 24
    code_minutes: int = 10
    hold_days: int = 28
    notice_channel: str = "file"
    smtp_url: str = ""
    smtp_from: str = ""
    backup_recipient: str = ""
    journal: str = ""
    spark_master: str = "local[*]"
    spark_memory: str = "2g"
    lake_retention_hours: int = 1
    lake_feed: str = ""
    lake_tables: str = ""
    debug: bool = False

    @property
    def base_url(self) -> str:
        """Return the address by which browsers reach the platform."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def lake(self) -> Path:
        """Return the folder of the lake."""
        return self.data / "lake"

    def override(self, **options: Any) -> Settings:
        """Return the settings with the options of the command line that are not None.

        Options have the types of the fields they replace, hence Any.
        """
        values = {name: value for name, value in options.items() if value is not None}
        settings = replace(self, **values)
        _check_values(settings, "the command line")
        return settings


def load_settings(folder: Path = Path(), environment: Mapping[str, str] = os.environ) -> Settings:
    """Read ehr.toml of a folder and the EHR_ variables of an environment."""
    values: dict[str, Any] = {}
    for name, value in _file_values(folder / FILE).items():
        values[name] = _convert(name, str(value), FILE)
    for name, text in _environment_values(environment).items():
        values[name] = _convert(name, text, PREFIX + name.upper())
    settings = Settings(**values)
    _check_values(settings, FILE if (folder / FILE).exists() else "the EHR_ variables")
    return settings


def to_environment(settings: Settings) -> dict[str, str]:
    """Return the variables from which another process reads the same settings."""
    return {
        PREFIX + field.name.upper(): str(getattr(settings, field.name))
        for field in fields(settings)
        if getattr(settings, field.name) != field.default
    }


def _file_values(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{FILE} is not valid TOML: {error}.") from error
    for name in values:
        _check_name(name, FILE, name)
    return values


def _environment_values(environment: Mapping[str, str]) -> dict[str, str]:
    values = {}
    for variable, text in environment.items():
        if variable.startswith(PREFIX) and variable not in OTHER_VARIABLES:
            name = variable.removeprefix(PREFIX).lower()
            _check_name(name, "the environment", variable)
            values[name] = text
    return values


def _check_name(name: str, where: str, spelling: str) -> None:
    names = [field.name for field in fields(Settings)]
    if name in names:
        return
    nearest = difflib.get_close_matches(name, names, 1)
    hint = f" Did you mean {nearest[0]}?" if nearest else f" The settings are {', '.join(names)}."
    raise Invalid(f"There is no setting {spelling} ({where}).{hint}")


def _convert(name: str, text: str, where: str) -> Any:
    try:
        return _CONVERTERS[str(Settings.__annotations__[name])](text)
    except ValueError as error:
        raise Invalid(f"{where}: {name} {error}.") from error


def _parse_int(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError("must be a whole number") from error


def _parse_bool(text: str) -> bool:
    if text.lower() not in ("1", "0", "true", "false"):
        raise ValueError("must be true or false")
    return text.lower() in ("1", "true")


_CONVERTERS: Mapping[str, Callable[[str], Any]] = {
    "Path": Path,
    "str": str,
    "int": _parse_int,
    "bool": _parse_bool,
}


# Name, least and greatest value.
_RANGES = (
    ("port", 1, 65535),
    ("workers", 1, 64),
    ("token_seconds", 60, 86_400),
    ("login_idle_seconds", 60, 86_400),
    ("login_absolute_seconds", 60, 604_800),
    ("reauth_seconds", 30, 86_400),
    ("refresh_idle_seconds", 60, 31_622_400),
    ("refresh_seconds", 60, 31_622_400),
    ("online_seconds", 60, 604_800),
    ("max_body_mb", 1, 1024),
    ("step_up_hours", 1, 8784),
    ("emergency_hours", 1, 24),
    ("lake_retention_hours", 0, 8784),
    ("code_minutes", 1, 60),
    ("hold_days", 1, 366),
    ("import_max_mb", 1, 1_048_576),
    ("max_bundle_entries", 1, 1_000_000),
    ("max_search_rows", 1000, 1_000_000_000),
    ("max_include_rounds", 1, 100),
    ("max_included", 1, 100_000),
    ("audit_checkpoint_seconds", 0, 86_400),
    ("duplicates_seconds", 0, 86_400),
)


def _check_validation(settings: Settings, where: str) -> None:
    if settings.validation not in VALIDATION_MODES:
        modes = ", ".join(VALIDATION_MODES)
        raise Invalid(f"validation must be one of {modes} ({where}).")
    if parse_required_profiles(settings.validation_profiles) and settings.validation != "profiles":
        raise Invalid(f"validation_profiles needs validation = profiles ({where}).")


def _check_values(settings: Settings, where: str) -> None:
    for name, least, most in _RANGES:
        if not least <= getattr(settings, name) <= most:
            raise Invalid(f"{name} must be from {least} to {most} ({where}).")
    if settings.database != "sqlite" and not settings.database.startswith("postgresql://"):
        raise Invalid(
            "database must be sqlite, for a file in the data folder, or an address such as "
            f"postgresql://user@host/name ({where})."
        )
    if settings.registration not in ("token", "open", "off"):
        raise Invalid(f"registration must be token, open or off ({where}).")
    if settings.client_ids not in ("any", "own"):
        raise Invalid(f"client_ids must be any or own ({where}).")
    _check_validation(settings, where)
    for proxy in settings.trusted_proxies.split(","):
        try:
            ipaddress.ip_network(proxy.strip())
        except ValueError as error:
            raise Invalid(
                f"trusted_proxies must be addresses or networks, with commas between ({where})."
            ) from error
    if settings.public_url:
        parts = urlsplit(settings.public_url)
        is_address = parts.scheme in ("http", "https") and parts.netloc
        if not is_address or settings.public_url.endswith("/"):
            raise Invalid("public_url must be an http or https address without a final slash.")
