"""`ehr lake erase` and `ehr lake scan`: finish an erasure everywhere, and prove it by a scan.

An erasure is asked for and approved at the gateway, by two people who are logged in (`$purge`,
`$decide-erasure`). These commands take no names of people: they do what was approved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ehr_cli.commands.erasure_scan import scan_everything
from ehr_cli.commands.erasure_search import (
    SHORTEST_BARE_ID,
    list_person_keys,
    list_pseudonyms,
    open_search,
)
from ehr_cli.commands.erasure_sweep import forget_in_releases, sweep_derived_files
from ehr_cli.settings import Settings
from ehr_fhir.errors import Conflict, NotFound
from ehr_privacy.erasure import hash_patient

if TYPE_CHECKING:
    from ehr_etl.erasure.certificate import Certificate
    from ehr_gateway.erasure.sought_texts import SoughtTexts

# How long to wait for a process that follows the feed, and applies the erasure by itself. Chosen.
_FOLLOWER_SECONDS = 120.0


@dataclass(frozen=True)
class Erasure:
    """An approved erasure: its id, and what a scan looks for while it is not certified."""

    id: str
    hashes: tuple[str, ...]
    sought: SoughtTexts | None


def erase_patient(settings: Settings, patient: str) -> None:
    """Finish the approved erasure of a patient in store, lake, research and models; certify it."""
    erasure = find_erasure(settings, patient)
    certificate = finish_erasure(settings, erasure, lambda text: typer.echo(text, err=True))
    print_certificate(settings, certificate)


def find_erasure(settings: Settings, patient: str) -> Erasure:
    """Return the approved erasure of a patient; NotFound where nobody approved one."""
    from ehr_cli.commands.lake_access import read_erasure_key
    from ehr_cli.data_folder import require_data_folder

    require_data_folder(settings.data)
    key = read_erasure_key(settings.data)
    digest = "" if key is None else hash_patient(key, patient)
    for erasure in list_approved(settings):
        if digest in erasure.hashes:
            return erasure
    raise NotFound(
        "No erasure of this patient was approved. One person asks for it ($purge, or Erasures in "
        "the portal) and another approves it."
    )


def list_approved(settings: Settings) -> list[Erasure]:
    """Return the erasures that were approved, newest first."""
    from ehr_cli.data_folder import gateway_settings
    from ehr_gateway.access_requests.request_rows import select_requests
    from ehr_gateway.erasure.erased_patients import open_erasure_key
    from ehr_gateway.erasure.requests import ERASURE_KIND
    from ehr_gateway.erasure.sought_texts import erasures_folder, read_sought_texts
    from ehr_gateway.store.store import Store

    chosen = gateway_settings(settings)
    with closing(Store(chosen.database, chosen.data)) as store, store.read_transaction() as rows:
        requests = select_requests(
            rows, "kind = :kind AND state IN ('active', 'ended')", kind=ERASURE_KIND
        )
    if not requests:
        return []
    key = open_erasure_key(chosen.keys)
    folder = erasures_folder(chosen.data)
    return [
        Erasure(
            request.id,
            tuple(request.details["hashes"]),
            read_sought_texts(folder, key, request.id),
        )
        for request in requests
    ]


def finish_pending(settings: Settings, say: Callable[[str], None]) -> None:
    """Certify the erasures that the lake has applied and nobody certified yet."""
    if not any((settings.data / "erasures").glob("*.sealed")):
        return
    for erasure in list_approved(settings):
        if erasure.sought is not None:
            certificate = finish_erasure(settings, erasure, say)
            say(f"Erasure {erasure.id}: {certificate.found} files hold something of it.")


def finish_erasure(settings: Settings, erasure: Erasure, say: Callable[[str], None]) -> Certificate:
    """Finish an erasure everywhere and scan for what is left; each step may be done again."""
    from ehr_etl.erasure.certificate import write_certificate
    from ehr_gateway.erasure.sought_texts import delete_sought_texts, erasures_folder
    from ehr_inbound.bulk_files.work_folder import clear_leftovers

    if erasure.sought is None:
        raise Conflict("This erasure is certified already: see Erasures, or its file.")
    clear_leftovers(settings.data)
    say("Writing the database's files anew.")
    _finish_store(settings)
    say("Taking the patient out of the lake.")
    _erase_from_lake(settings, erasure)
    say("Looking through research, models and sessions.")
    search, shared = open_search(settings, erasure.sought)
    swept = sweep_derived_files(settings.data, search)
    forget_in_releases(settings.data, erasure.sought.patients)
    say("Scanning every file.")
    certificate = scan_everything(settings, erasure.id, search, shared, swept)
    folder = erasures_folder(settings.data)
    write_certificate(folder, certificate)
    if not certificate.found:
        delete_sought_texts(folder, erasure.id)
    return certificate


def scan_for_patient(settings: Settings, patient: str) -> Certificate:
    """Scan for an id and its pseudonym, at any time, without texts of the record."""
    from ehr_etl.erasure.byte_search import ByteSearch

    reference = f"Patient/{patient}"
    ids = {reference, *([patient] if len(patient) >= SHORTEST_BARE_ID else ())}
    search = ByteSearch(
        list_pseudonyms(settings, [reference]), ids, list_person_keys(settings, [reference])
    )
    return scan_everything(settings, "scan", search, 0, {})


def print_certificate(settings: Settings, certificate: Certificate) -> None:
    """Show what was scanned; exit with 1 when something was found."""
    from ehr_etl.console_table import print_table

    rows = [
        (place.name, place.files, place.bytes_scanned, len(place.found_in))
        for place in certificate.scan.places.values()
    ]
    print_table(("Place", "Files", "Bytes", "Found"), rows)
    for sentence in certificate.not_scanned:
        typer.echo(f"Not scanned: {sentence}.")
    for name in sorted(certificate.scan.hits):
        typer.echo(f"Found in {name}.", err=True)
    for name in certificate.scan.unreadable:
        typer.echo(f"Cannot be read: {name}.", err=True)
    typer.echo(
        f"{certificate.texts:,} texts sought in {certificate.scan.files:,} files, "
        f"{certificate.scan.bytes_scanned:,} bytes: found in {certificate.found:,}."
    )
    if certificate.found:
        raise typer.Exit(1)


def erase_from_restored(folder: Path, patients: Sequence[str]) -> None:
    """Take patients out of the lake and of other files of a data folder that is being restored."""
    from ehr_etl.erasure.byte_search import ByteSearch
    from ehr_etl.erasure.erased_lines import find_erased
    from ehr_etl.erasure.lake_erasure import erase_from_bronze, erase_from_lake
    from ehr_etl.lake import Lake
    from ehr_etl.pipeline import forget_tables
    from ehr_etl.upkeep import clear_leftovers
    from ehr_gateway.erasure.erased_patients import open_erasure_key

    settings = Settings(data=folder)
    key, lake = open_erasure_key(folder / "keys"), Lake(folder / "lake")
    clear_leftovers(lake)
    references = {f"Patient/{patient}" for patient in patients}
    deid_key = folder / "keys" / "deid.key"
    if lake.has_table("bronze") and deid_key.exists():
        found = find_erased(lake, key, [hash_patient(key, patient) for patient in patients])
        references |= found.targets
        erase_from_lake(lake, found, deid_key.read_bytes())
        forget_tables(lake)
        erase_from_bronze(lake, found)
    search = ByteSearch(
        list_pseudonyms(settings, references),
        references,
        list_person_keys(settings, references),
    )
    sweep_derived_files(folder, search)
    forget_in_releases(folder, patients)


# Parts of an erasure.


def _finish_store(settings: Settings) -> None:
    from ehr_cli.commands.lake_access import now_ms
    from ehr_cli.data_folder import gateway_settings
    from ehr_gateway.audit_log.service import open_audit_log
    from ehr_gateway.erasure.finish import finish_erasures
    from ehr_gateway.store.store import Store

    chosen = gateway_settings(settings)
    with closing(Store(chosen.database, chosen.data)) as store:
        log = open_audit_log(chosen, store.database, now_ms)
        finish_erasures(store, chosen, log.spool, now_ms())


def _erase_from_lake(settings: Settings, erasure: Erasure) -> None:
    from ehr_cli.commands.lake_access import now_ms, open_lake, open_writer
    from ehr_etl.erasure.table_files import list_data_files
    from ehr_etl.maintenance import list_files_in_use
    from ehr_gateway.erasure.erased_patients import open_erasure_key

    lake = open_lake(settings)
    if not lake.has_table("bronze"):
        return
    key = open_erasure_key(settings.data / "keys")
    deadline = time.monotonic() + _FOLLOWER_SECONDS
    before = list_data_files(lake, "bronze")
    while True:
        try:
            with open_writer(settings) as writer:
                writer.erase(erasure.hashes, now_ms())
            return
        except Conflict:
            is_late = time.monotonic() >= deadline
            # A process that follows the feed finds the erasure there. It deletes what is old last,
            # of bronze after all other tables.
            if _is_out_of_lake(settings, key, erasure.hashes):
                used = list_files_in_use(lake.open_table("bronze"))
                if is_late or not (before & list_data_files(lake, "bronze")) - used.keys():
                    return
            if is_late:
                raise
            time.sleep(1)


def _is_out_of_lake(settings: Settings, key: bytes, hashes: Collection[str]) -> bool:
    from ehr_cli.commands.lake_access import open_lake
    from ehr_etl.erasure.erased_lines import find_erased

    return not find_erased(open_lake(settings), key, hashes).patients
