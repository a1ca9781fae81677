"""The table of scrubbed notes: free text of the records that research may use, by layers.

Off until `ehr lake notes`. A bucket of notes is a function of that bucket of silver, of the
decisions, and of the staff and organisations in silver; it is made anew when one of them changed.
After a merge of accounts it is one of the buckets with the person's other accounts too.
Texts have the lake's tokens; a project reads them as tags of its own (`ehr_privacy.text`).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.atomic_files import replace_file
from ehr_etl.gold.note_texts import list_note_texts
from ehr_etl.lake import GOLD_BUCKET, GOLD_KEY, Lake
from ehr_etl.tables.bucketed import (
    Layout,
    create_table,
    cut_buckets,
    read_buckets,
    replace_buckets,
)
from ehr_etl.tables.decisions import (
    ClosedRecords,
    PatientDecision,
    decide_record,
    list_patients,
    read_decisions,
)
from ehr_etl.tables.deid import deid_digest, deid_key_text
from ehr_etl.tables.people import KnownPeople, read_people
from ehr_privacy.deid import load_rules, shift_days

if TYPE_CHECKING:
    from ehr_privacy.text import NoteOwner, NoteScrubber

__all__ = ["NOTES_SCHEMA", "NOTES_TABLE", "bring_up_notes", "has_notes", "keep_notes", "stop_notes"]

# No view of a user's has this name: it begins with an underscore.
NOTES_TABLE = "gold/_notes"
# `_key` is the record's, by which rows are withheld and erased; of a type that deid does not have
# it is the patient's.
NOTES_SCHEMA = pa.schema(
    [
        (GOLD_BUCKET, pa.int32()),
        (GOLD_KEY, pa.string()),
        ("record_id", pa.string()),
        ("record_type", pa.string()),
        ("patient_id", pa.string()),
        ("element", pa.string()),
        ("note", pa.string()),
    ]
)
_STAFF_TYPES = ("Practitioner", "Organization", "Location")
_FAMILY_TYPES = ("Patient", "RelatedPerson")


@dataclass(frozen=True)
class _State:
    """By what the buckets were made: a digest of software, key and staff, and files by bucket.

    `beside` has by bucket the others in which other accounts of its people are.
    """

    software: str = ""
    staff: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def list_changed(self, files: Mapping[str, str]) -> list[int]:
        """Return the buckets whose files, or those of a bucket beside, are others than `files`."""
        changed = {
            bucket
            for bucket in self.files.keys() | files.keys()
            if self.files.get(bucket) != files.get(bucket)
        }
        changed |= {
            bucket for bucket, others in self.beside.items() if not changed.isdisjoint(others)
        }
        return sorted(map(int, changed))


def has_notes(lake: Lake) -> bool:
    """Say whether the lake keeps the table of notes."""
    return _file(lake).exists()


def keep_notes(lake: Lake) -> None:
    """Let the lake keep the table of notes from its next run on."""
    if not has_notes(lake):
        _save(lake, _State())


def stop_notes(lake: Lake) -> None:
    """Delete the table of notes; the lake keeps none from now on."""
    _file(lake).unlink(missing_ok=True)
    lake.delete_table(NOTES_TABLE)


def bring_up_notes(lake: Lake, layout: Layout, key: bytes, now_ms: int) -> bool:
    """Make the notes of each bucket that changed anew; return whether anything was written."""
    if not has_notes(lake):
        return False
    if not lake.has_table(NOTES_TABLE):
        create_table(lake, NOTES_TABLE, NOTES_SCHEMA, GOLD_BUCKET)
    before, software, bucket_files = _load(lake), _digest_software(key), _list_bucket_files(lake)
    if before.software == software and before.files == bucket_files:
        return False
    staff = _read_staff(lake)
    digest = _digest_staff(staff)
    is_same = (before.software, before.staff) == (software, digest)
    everything = sorted(int(bucket) for bucket in before.files.keys() | bucket_files.keys())
    stale = before.list_changed(bucket_files) if is_same else everything
    writer = _NotesWriter(lake, layout, key, now_ms, staff)
    is_written = False
    for chosen in cut_buckets(stale):
        rows = writer.build_rows(chosen)
        is_written |= replace_buckets(lake, NOTES_TABLE, chosen, rows, column=GOLD_BUCKET)
    kept = {bucket: on for bucket, on in before.beside.items() if int(bucket) not in stale}
    found = {str(bucket): sorted(map(str, others)) for bucket, others in writer.beside.items()}
    _save(lake, _State(software, digest, bucket_files, {**kept, **found}))
    return is_written


@dataclass
class _NotesWriter:
    lake: Lake
    layout: Layout
    key: bytes
    now_ms: int
    staff: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        # Loading Presidio takes seconds: only a lake that keeps notes does.
        from ehr_privacy.text import KnownIdentifiers, NoteScrubber

        shared = KnownIdentifiers(
            {f"{row['resourceType']}/{row['id']}": [row] for row in self.staff}
        )
        self.scrubber: NoteScrubber = NoteScrubber(self.key, shared)
        self.types = load_rules().types
        # By bucket the others in which other accounts of its people are.
        self.beside: defaultdict[int, set[int]] = defaultdict(set)

    def build_rows(self, buckets: Collection[int]) -> pa.Table:
        """Return the rows of some buckets, of records that research may use."""
        silver = read_buckets(self.lake.open_table("silver"), buckets)
        rows = silver.filter(pc.invert(silver.column("deleted"))).to_pylist()
        patients = {patient for row in rows for patient in list_patients(row)}
        people = read_people(self.lake, self.layout, patients, rows)
        decisions = read_decisions(self.lake, self.layout, patients)
        owners = self._build_owners([*rows, *self._read_other_accounts(rows, people)], people)
        built = (note for row in rows for note in self._build_notes(row, decisions, owners, people))
        return pa.Table.from_pylist(list(built), schema=NOTES_SCHEMA)

    def _read_other_accounts(
        self, rows: Iterable[Mapping[str, Any]], people: KnownPeople
    ) -> list[dict[str, Any]]:
        """Return the rows of silver of the other accounts of merged people, and their families."""
        others: defaultdict[int, set[str]] = defaultdict(set)
        for row in rows:
            for patient in list_patients(row):
                for other in people.linked.get(patient, ()):
                    place = self.layout.place(f"Patient/{other}")
                    if place != row["bucket"]:
                        others[place].add(other)
                        self.beside[row["bucket"]].add(place)
        if not others:
            return []
        dataset = self.lake.open_table("silver").to_pyarrow_dataset()
        condition = (
            pc.field("bucket").isin(pa.array(sorted(others), pa.int32()))
            & pc.field("type").isin(_FAMILY_TYPES)
            & ~pc.field("deleted")
        )
        columns = ["type", "id", "facts", "resource", "bucket"]
        found = dataset.to_table(columns=columns, filter=condition).to_pylist()
        return [row for row in found if not list_patients(row).isdisjoint(others[row["bucket"]])]

    def _build_owners(
        self, rows: Iterable[Mapping[str, Any]], people: KnownPeople
    ) -> dict[str, NoteOwner]:
        """Return by account what is known of each person and family."""
        from ehr_privacy.text import KnownIdentifiers, NoteOwner

        known: defaultdict[str, dict[str, list[Any]]] = defaultdict(dict)
        # A record may be there twice: by its bucket, and as one of another account.
        family = {(row["type"], row["id"]): row for row in rows if row["type"] in _FAMILY_TYPES}
        for (kind, identity), row in family.items():
            for account in {people.people.find(patient).account for patient in list_patients(row)}:
                resource = orjson.loads(row["resource"])
                known[account].setdefault(f"{kind}/{identity}", []).append(resource)
        return {
            account: NoteOwner.of(account, KnownIdentifiers(texts), shift_days(self.key, account))
            for account, texts in known.items()
        }

    def _build_notes(
        self,
        row: Mapping[str, Any],
        decisions: Mapping[str, PatientDecision],
        owners: Mapping[str, NoteOwner],
        people: KnownPeople,
    ) -> Iterator[dict[str, Any]]:
        accounts = {people.people.find(patient).account for patient in list_patients(row)}
        # A text about two people, or of somebody whose names are not known, cannot be scrubbed.
        owner = owners.get(next(iter(accounts))) if len(accounts) == 1 else None
        if owner is None:
            return
        texts = list(list_note_texts(orjson.loads(row["resource"])))
        if not texts or decide_record(row, decisions, self.now_ms, ClosedRecords()) is None:
            return
        record = deid_key_text(self.key, row["type"], row["id"])
        patient = deid_key_text(self.key, "Patient", owner.patient)
        for found in texts:
            yield {
                GOLD_BUCKET: row["bucket"],
                GOLD_KEY: record if row["type"] in self.types else patient,
                "record_id": record,
                "record_type": row["type"],
                "patient_id": patient,
                "element": found.element,
                "note": self.scrubber.scrub(found.text, owner).text,
            }


def _read_staff(lake: Lake) -> list[Mapping[str, Any]]:
    """Return the practitioners and organisations of silver, in one order."""
    dataset = lake.open_table("silver").to_pyarrow_dataset()
    wanted = pc.field("type").isin(_STAFF_TYPES) & ~pc.field("deleted")
    texts = dataset.to_table(columns=["resource"], filter=wanted).column("resource").to_pylist()
    return [orjson.loads(text) for text in sorted(texts)]


def _list_bucket_files(lake: Lake) -> dict[str, str]:
    """Return by bucket a digest of the files of silver and deid: another one where they changed."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for table in ("silver", "deid"):
        actions = pa.table(lake.open_table(table).get_add_actions(flatten=True))
        for action in actions.select(["path", "partition.bucket"]).to_pylist():
            names[str(action["partition.bucket"])].append(f"{table}/{action['path']}")
    return {
        bucket: hashlib.sha256("\n".join(sorted(listed)).encode()).hexdigest()[:32]
        for bucket, listed in names.items()
    }


def _digest_software(key: bytes) -> str:
    """Return a digest of all that decides how a note is scrubbed, beside what is known."""
    digest = hashlib.sha256(deid_digest(key).encode())
    for content in _read_folder(files("ehr_privacy") / "text"):
        digest.update(content)
    return digest.hexdigest()[:32]


def _digest_staff(staff: Sequence[Mapping[str, Any]]) -> str:
    text = orjson.dumps(list(staff), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:32]


def _read_folder(folder: Traversable) -> Iterator[bytes]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from () if entry.name == "__pycache__" else _read_folder(entry)
        else:
            yield entry.read_bytes()


def _load(lake: Lake) -> _State:
    return _State(**orjson.loads(_file(lake).read_bytes()))


def _save(lake: Lake, state: _State) -> None:
    file = _file(lake)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, orjson.dumps(asdict(state)))


def _file(lake: Lake) -> Path:
    return lake.root / "notes.json"
