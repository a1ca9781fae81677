"""What an erasure searches for: texts, ids and pseudonyms of the patient, and of nobody else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ehr_cli.settings import Settings
from ehr_privacy.deid import pseudonym

if TYPE_CHECKING:
    from ehr_etl.erasure.byte_search import ByteSearch
    from ehr_gateway.database import Connection
    from ehr_gateway.erasure.sought_texts import SoughtTexts

__all__ = ["SHORTEST_BARE_ID", "list_person_keys", "list_pseudonyms", "open_search"]

# Ids as short as this say nothing by themselves: they are looked for with their type alone.
SHORTEST_BARE_ID = 4
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9.\-]{1,64}(?:/_history/\d+)?")
# Rows of the audit log in memory at once. Chosen.
_ROWS = 10_000
_PACKAGES = ("ehr_fhir", "ehr_gateway", "ehr_etl", "ehr_privacy", "ehr_analytics", "ehr_models")


def open_search(settings: Settings, sought: SoughtTexts) -> tuple[ByteSearch, int]:
    """Return the search for what was erased, and how many texts are others' too."""
    from ehr_cli.data_folder import gateway_settings
    from ehr_etl.erasure.byte_search import ByteSearch
    from ehr_gateway.store.store import Store

    references = {f"Patient/{patient}" for patient in sought.patients} | set(sought.records)
    # What the patient's records named of others' is no secret of the patient's.
    sought_texts = {text for text in sought.texts if not _REFERENCE.fullmatch(text)} - references
    chosen = gateway_settings(settings)
    with closing(Store(chosen.database, chosen.data)) as store, store.read_transaction() as rows:
        ids = references | {
            identity
            for identity in (reference.partition("/")[2] for reference in references)
            if len(identity) >= SHORTEST_BARE_ID and not _is_id_of_others(rows, identity)
        }
        of_others = _find_ids_of_others(rows, sought.patients, ids)
        others = ByteSearch(sought_texts, is_once=True)
        others.search_stream(_read_others(rows))
    others.search_stream(_read_product())
    texts = sought_texts - others.found
    texts -= {reference.partition("/")[2] for reference in references}
    search = ByteSearch(
        texts | list_pseudonyms(settings, references),
        ids - of_others,
        list_person_keys(settings, references),
    )
    return search, len(others.found) + len(of_others)


def _is_id_of_others(connection: Connection, identity: str) -> bool:
    row = connection.execute("SELECT 1 FROM resource WHERE id = ? LIMIT 1", (identity,))
    return row.fetchone() is not None


def _find_ids_of_others(
    connection: Connection, patients: Collection[str], ids: Collection[str]
) -> set[str]:
    """Return the ids of records that stand in audit events about other patients.

    A record that was another patient's before stays in the events that tell that patient who saw
    it: they cannot be changed, and tell of nobody else.
    """
    from ehr_etl.erasure.byte_search import ByteSearch

    own = {*patients, *(f"Patient/{patient}" for patient in patients)}
    search = ByteSearch((), set(ids) - own, is_once=True)
    after = 0
    while rows := connection.execute(
        "SELECT seq, patient, entities, query FROM audit"
        " WHERE seq > ? AND patient IS NOT NULL ORDER BY seq LIMIT ?",
        (after, _ROWS),
    ).fetchall():
        texts = (f"{row['entities']}\0{row['query']}" for row in rows if row["patient"] not in own)
        search.search("\0".join(texts).encode())
        after = rows[-1]["seq"]
    return search.found


def _read_others(connection: Connection) -> Iterator[bytes]:
    """Yield what the store says of everybody else: records, and names of accounts."""
    for row in connection.execute("SELECT login, display, person FROM account"):
        yield "\0".join(str(value or "") for value in row).encode()
    for row in connection.execute("SELECT DISTINCT login, display, organization FROM audit"):
        yield "\0".join(str(value or "") for value in row).encode()
    after = 0
    while rows := connection.execute(
        "SELECT pk, body FROM resource WHERE pk > ? ORDER BY pk LIMIT 1000", (after,)
    ).fetchall():
        yield b"\0".join(bytes(row["body"]) for row in rows)
        after = rows[-1]["pk"]


def _read_product() -> Iterator[bytes]:
    """Yield the product's own files: what stands in them tells of nobody."""
    from ehr_etl.erasure.file_contents import read_contents

    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    yield from read_contents(path)


def list_pseudonyms(settings: Settings, references: Iterable[str]) -> set[str]:
    """Return the pseudonyms of records: the lake's, and those of each project."""
    key_file = settings.data / "keys" / "deid.key"
    if not key_file.exists():
        return set()
    key, references = key_file.read_bytes(), set(references)
    found = {pseudonym(key, reference) for reference in references}
    found |= set(map(str, list_person_keys(settings, references)))
    keys = [path.read_text("ascii") for path in (settings.data / "keys/research").glob("*.key")]
    return found | {
        hashlib.sha256(f"{project}{value}".encode()).hexdigest()
        for project in keys
        for value in found
    }


def list_person_keys(settings: Settings, references: Iterable[str]) -> set[int]:
    """Return the numbers by which OMOP's tables know the patients among some references."""
    from ehr_etl.omop.identifiers import person_key

    key_file = settings.data / "keys" / "deid.key"
    if not key_file.exists():
        return set()
    key = key_file.read_bytes()
    people = (reference for reference in references if reference.startswith("Patient/"))
    return {person_key(pseudonym(key, reference)) for reference in people}
