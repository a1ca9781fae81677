"""The data folder: keys, database, the platform's own OAuth clients and its Organization."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import orjson

from ehr_cli.settings import Settings
from ehr_fhir.errors import Conflict, NotFound, Unavailable
from ehr_fhir.validation_settings import ValidationSettings, parse_required_profiles
from ehr_gateway.access import Access
from ehr_gateway.access_limits import AccessLimits
from ehr_gateway.app import create_gateway
from ehr_gateway.import_sources import parse_import_sources
from ehr_gateway.interactions.update import update
from ehr_gateway.notice_settings import NoticeSettings
from ehr_gateway.oauth import clients
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.store import Store
from ehr_privacy.consent import Requester, parse_scopes

PLATFORM = "ehr-commons"
# OAuth 2 clients of the platform's own programs, which write back what they found. They read
# organisations, because a reference must lead to something its writer may see.
PROGRAMS = (
    clients.Client(
        "lake",
        "Lake",
        scope="ehr/feed.read system/MeasureReport.cruds system/Organization.r",
        organization=PLATFORM,
    ),
    clients.Client(
        "models",
        "Models",
        scope=(
            "system/RiskAssessment.cruds system/Provenance.cruds system/Device.cruds "
            "system/Organization.r"
        ),
        organization=PLATFORM,
    ),
)


def gateway_settings(settings: Settings) -> GatewaySettings:
    """Return the gateway's part of the settings."""
    return GatewaySettings(
        data=settings.data,
        database_url=None if settings.database == "sqlite" else settings.database,
        base_url=settings.base_url,
        token_seconds=settings.token_seconds,
        login_idle_seconds=settings.login_idle_seconds,
        login_absolute_seconds=settings.login_absolute_seconds,
        reauth_seconds=settings.reauth_seconds,
        refresh_idle_seconds=settings.refresh_idle_seconds,
        refresh_seconds=settings.refresh_seconds,
        online_seconds=settings.online_seconds,
        registration=settings.registration,
        brand_name=settings.brand_name,
        brand_website=settings.brand_website,
        brand_logo=settings.brand_logo,
        brand_developers=settings.brand_developers,
        client_ids=settings.client_ids,
        validation=ValidationSettings(
            settings.validation,
            settings.validation_invariants,
            parse_required_profiles(settings.validation_profiles),
        ),
        eid_authorize_url=settings.eid_authorize_url,
        eid_token_url=settings.eid_token_url,
        eid_client_id=settings.eid_client_id,
        eid_client_secret=settings.eid_client_secret,
        limits=AccessLimits(
            withheld_marker=settings.withheld_marker,
            step_up_hours=settings.step_up_hours,
            emergency_hours=settings.emergency_hours,
            code_minutes=settings.code_minutes,
            hold_days=settings.hold_days,
        ),
        notices=NoticeSettings(settings.notice_channel, settings.smtp_url, settings.smtp_from),
        subscription_hosts=tuple(settings.subscription_hosts.replace(",", " ").split()),
        subscription_topics=(
            Path(settings.subscription_topics) if settings.subscription_topics else None
        ),
        max_body_bytes=settings.max_body_mb * 1024 * 1024,
        import_sources=parse_import_sources(settings.import_hosts),
        max_import_bytes=settings.import_max_mb * 1024 * 1024,
        max_bundle_entries=settings.max_bundle_entries,
        max_search_rows=settings.max_search_rows,
        max_include_rounds=settings.max_include_rounds,
        max_included=settings.max_included,
        audit_log=Path(settings.audit_log) if settings.audit_log else None,
        audit_checkpoint_seconds=settings.audit_checkpoint_seconds,
        duplicates_seconds=settings.duplicates_seconds,
        journal=Path(settings.journal) if settings.journal else None,
    )


def require_data_folder(folder: Path) -> None:
    """Refuse a folder that holds no platform, so that a mistyped one is not filled unnoticed.

    An empty folder that somebody made, such as a new volume, may be filled.
    """
    if not folder.exists():
        raise NotFound(
            f"There is no data folder {folder}. `ehr up --new` makes an empty platform there, "
            "`ehr load` one with your records."
        )
    refuse_foreign_folder(folder)


def refuse_foreign_folder(folder: Path) -> None:
    """Refuse a folder with files in it that are not a platform's."""
    if not folder.is_dir():
        raise Conflict(f"{folder} is a file; --data names a folder.")
    # A home folder or a volume may bring hidden files along.
    is_empty = all(path.name.startswith(".") for path in folder.iterdir())
    if not is_empty and not is_platform(folder):
        raise Conflict(
            f"{folder} is not empty and holds no platform, so it is left alone. "
            "Choose another folder with --data."
        )


def is_platform(folder: Path) -> bool:
    """Return whether a folder holds a platform's keys or database."""
    return (folder / "keys").is_dir() or (folder / "ehr.db").exists()


def prepare_data_folder(settings: Settings) -> None:
    """Create what a data folder lacks: tables, keys, clients; change nothing that is there."""
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        # Records and keys: for the owner's eyes.
        settings.data.chmod(0o700)
    except OSError as error:
        raise Unavailable(
            f"The data folder {settings.data} cannot be made or is not yours; choose one with "
            "--data."
        ) from error
    # Creating the application creates tables, keys and the portal's registration.
    store: Store = create_gateway(gateway_settings(settings)).state.gateway.store
    try:
        if _is_new(store):
            _register_programs(store, settings.data / "keys")
            _write_private_file(settings.data / "keys" / "deid.key", secrets.token_bytes(32))
            _write_platform_organization(store)
    finally:
        store.close()


def _is_new(store: Store) -> bool:
    try:
        clients.find_client(store, PROGRAMS[0].id)
    except NotFound:
        return True
    return False


def read_program_secret(data: Path, program: str) -> str:
    """Return the client secret of one of the platform's programs."""
    return (data / "keys" / f"{program}.secret").read_text("ascii")


def _register_programs(store: Store, keys: Path) -> None:
    for program in PROGRAMS:
        secret = secrets.token_urlsafe(32)
        _write_private_file(keys / f"{program.id}.secret", secret.encode())
        clients.register_client(store, program, secret)


def _write_private_file(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _write_platform_organization(store: Store) -> None:
    requester = Requester(
        role="system",
        person=PLATFORM,
        organization=PLATFORM,
        profession=None,
        purpose="TREAT",
        patient=None,
        scopes=parse_scopes("system/Organization.cruds"),
    )
    resource = {
        "resourceType": "Organization",
        "id": PLATFORM,
        "active": True,
        "name": "eHR Commons",
    }
    access = Access(requester, time.time_ns() // 1_000_000, "first-start")
    update(store, access, "Organization", PLATFORM, orjson.dumps(resource))
