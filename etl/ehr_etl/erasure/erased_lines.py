"""Lines of the feed that an erasure takes out of the lake, found in bronze by keyed hashes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from ehr_etl.change_feed.entries import EVERYBODY, FeedLine, parse_line
from ehr_etl.lake import Lake
from ehr_etl.omop.identifiers import person_key
from ehr_etl.tables.decisions import list_patients
from ehr_etl.tables.deid import deid_key_text
from ehr_privacy.deid import pseudonym
from ehr_privacy.erasure import (
    ErasedVersions,
    VersionPatients,
    alias_records,
    choose_versions,
    hash_patient,
    rename_erased,
)

__all__ = [
    "BATCH_ROWS",
    "LakeErasure",
    "find_erased",
    "iterate_lines",
    "refers_to_any",
    "rename_in_text",
]

# Rows in memory at once. Chosen.
BATCH_ROWS = 20_000
# Where a line of the feed names patients: its facts, what it is about, and its references.
_PATIENT_LISTS = re.compile(r'"patients"\s*:\s*\[([^\]]*)\]')
_LINE_OF_PATIENT = re.compile(r'"type"\s*:\s*"Patient"\s*,\s*"id"\s*:\s*"([^"]+)"')
_REFERENCES = re.compile(r'"reference"\s*:\s*"([^"]*)"')
_NAMED_PATIENTS = re.compile(r"Patient/([A-Za-z0-9.\-]{1,64})")


@dataclass
class LakeErasure:
    """Whom and what an erasure takes out of the lake."""

    patients: set[str] = field(default_factory=set)
    versions: ErasedVersions = field(default_factory=ErasedVersions)
    # What stands for erased records in facts and rules about others' records, by `Type/id`.
    aliases: Mapping[str, str] = field(default_factory=dict)
    # Numbers of the lines of bronze.
    sequences: set[int] = field(default_factory=set)
    # Other records, by type and id, that lose a version, or a reference to what is erased.
    cut_records: set[tuple[str, str]] = field(default_factory=set)
    # Other patients whom erased versions are about as well.
    shared_with: set[str] = field(default_factory=set)
    # Contents of every erased version of the patients themselves.
    people: list[tuple[str, str]] = field(default_factory=list)

    @property
    def targets(self) -> set[str]:
        """References to what is erased, as `Type/id`."""
        named = {f"{kind}/{identity}" for kind, identity in self.versions.records}
        return named | {f"Patient/{patient}" for patient in self.patients}

    def pseudonyms(self, key: bytes) -> set[str]:
        """Return the pseudonyms of the patients and their records."""
        records = {deid_key_text(key, *record) for record in self.versions.records}
        people = {pseudonym(key, f"Patient/{patient}") for patient in self.patients}
        # By these OMOP's rows of a person are found.
        return records | people | set(map(str, self.person_keys(key)))

    def person_keys(self, key: bytes) -> set[int]:
        """Return the numbers by which OMOP's tables know the patients."""
        people = (pseudonym(key, f"Patient/{patient}") for patient in self.patients)
        return set(map(person_key, people))


def find_erased(lake: Lake, key: bytes, hashes: Collection[str]) -> LakeErasure:
    """Find, in bronze, the patients of some keyed hashes and all that is about them."""
    erasure = LakeErasure(patients=_find_patients(lake, key, frozenset(hashes)))
    if not erasure.patients:
        return erasure
    about = frozenset(erasure.patients)
    erasure.versions = choose_versions(
        (version for _, line in iterate_lines(lake) if (version := _version_of(line, about))),
        about,
    )
    targets = erasure.targets
    erasure.aliases = alias_records(key, targets)
    newest_rules: dict[str, int] = {}
    outdated: list[tuple[int, str]] = []
    for sequence, line in iterate_lines(lake):
        if _is_erased(line, erasure):
            erasure.sequences.add(sequence)
            _note_erased(line, erasure)
        elif line.kind in ("version", "facts") and (
            refers_to_any(line.resource or "", targets)
            or rename_in_text(line.facts, erasure.aliases) != line.facts
        ):
            erasure.cut_records.add((str(line.type), str(line.id)))
        elif line.kind == "rules" and line.id is not None:
            newest_rules[line.id] = sequence
            if _has_rule_of(line, erasure):
                outdated.append((sequence, line.id))
    # Rules of another account of the same person, copied from the erased one. The gateway has told
    # that account's rules anew; without newer ones the line stays, since it may close something.
    erasure.sequences |= {sequence for sequence, who in outdated if sequence < newest_rules[who]}
    return erasure


def iterate_lines(lake: Lake) -> Iterator[tuple[int, FeedLine]]:
    """Yield the number of each line of bronze, and the line."""
    for sequence, text in _iterate_texts(lake):
        yield sequence, parse_line(text)


def _iterate_texts(lake: Lake) -> Iterator[tuple[int, str]]:
    table = lake.open_table("bronze").to_pyarrow_dataset()
    for batch in table.to_batches(columns=["sequence", "line"], batch_size=BATCH_ROWS):
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def _find_patients(lake: Lake, key: bytes, hashes: frozenset[str]) -> set[str]:
    seen: set[str] = set()
    patients: set[str] = set()
    for _, text in _iterate_texts(lake):
        for patient in _name_patients(text):
            if patient not in seen:
                seen.add(patient)
                if hash_patient(key, patient) in hashes:
                    patients.add(patient)
    return patients


def _name_patients(text: str) -> Iterator[str]:
    """Yield the ids of patients that a line may be about; more than they are does no harm."""
    for names in _PATIENT_LISTS.findall(text):
        yield from (name.strip().strip('"') for name in names.split(","))
    yield from _LINE_OF_PATIENT.findall(text)
    yield from _NAMED_PATIENTS.findall(text)


def _version_of(line: FeedLine, about: frozenset[str]) -> VersionPatients | None:
    """Return what a line tells of whose a version is; of a line without facts, whom it names."""
    if line.kind != "version" or line.type is None or line.id is None or line.version is None:
        return None
    patients = list_patients({"facts": line.facts})
    if line.type == "Patient":
        patients |= {line.id}
    patients -= {EVERYBODY}
    if line.facts is None:
        text = line.resource or ""
        patients |= {patient for patient in about if f"Patient/{patient}" in text}
    return VersionPatients(line.type, line.id, line.version, patients)


def _is_erased(line: FeedLine, erasure: LakeErasure) -> bool:
    if line.kind == "rules":
        return line.id in erasure.patients
    if line.kind == "fault":
        # It cannot be read: whatever names the patient may be about them.
        text = line.resource or ""
        return any(name in text for name in erasure.patients | erasure.targets)
    if line.type is None or line.id is None:
        return False
    return erasure.versions.takes(line.type, line.id, line.version)


def _note_erased(line: FeedLine, erasure: LakeErasure) -> None:
    """Note whom else an erased line concerns."""
    if line.kind != "version" or line.type is None or line.id is None:
        return
    if (line.type, line.id) not in erasure.versions.records:
        erasure.cut_records.add((line.type, line.id))
    erasure.shared_with |= list_patients({"facts": line.facts}) - erasure.patients - {EVERYBODY}
    if line.type == "Patient" and line.resource is not None:
        erasure.people.append((line.id, line.resource))


def refers_to_any(text: str, targets: Collection[str]) -> bool:
    """Say whether a resource refers to something that is erased."""
    return any(
        "/".join(reference.partition("/_history/")[0].split("/")[-2:]) in targets
        for reference in _REFERENCES.findall(text)
    )


def rename_in_text(text: str | None, aliases: Mapping[str, str]) -> str | None:
    """Return facts or rules, as JSON, with aliases for erased records; others stay as they are."""
    if text is None or not aliases:
        return text
    content = orjson.loads(text)
    rows = content if isinstance(content, list) else [content]
    renamed = [rename_erased(row, aliases) for row in rows if isinstance(row, dict)]
    return orjson.dumps(content).decode() if any(renamed) else text


def _has_rule_of(line: FeedLine, erasure: LakeErasure) -> bool:
    rules = line.rules or ""
    return any(
        f'"{identity}"' in rules for kind, identity in erasure.versions.records if kind == "Consent"
    )
