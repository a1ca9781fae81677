"""Erase patients from every table of the lake, its old files, logs and statistics.

The patients come as keyed hashes and are found in bronze, which has every line of the feed, so
bronze is written last: an erasure that was cut short finds the same patients when it is run again.
No condition on a patient gets into Delta's log: rows are filtered here, and a table's commit names
buckets or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as fs
from deltalake import DeltaTable, write_deltalake

from ehr_etl.change_feed.entries import EVERYBODY, FeedLine, parse_line
from ehr_etl.erasure.table_files import drop_old_files
from ehr_etl.gold.tables import list_gold_views
from ehr_etl.lake import BUCKET, GOLD_BUCKET, TABLES, Lake, gold_table_name
from ehr_etl.omop.identifiers import person_key
from ehr_etl.tables.bucketed import WRITER, cut_buckets, read_buckets, write_buckets
from ehr_etl.tables.decisions import list_patients
from ehr_etl.tables.deid import deid_key_text
from ehr_etl.tables.places import record_key
from ehr_fhir.json_text import parse, serialize
from ehr_privacy.deid import pseudonym
from ehr_privacy.erasure import (
    ErasedVersions,
    VersionPatients,
    choose_versions,
    cut_references,
    hash_patient,
)

__all__ = ["LakeErasure", "erase_from_lake", "find_erased", "list_lake_tables"]

# Rows in memory at once. Chosen.
_BATCH_ROWS = 20_000
# Where a line of the feed names patients: its facts, what it is about, and its references.
_PATIENT_LISTS = re.compile(r'"patients"\s*:\s*\[([^\]]*)\]')
_LINE_OF_PATIENT = re.compile(r'"type"\s*:\s*"Patient"\s*,\s*"id"\s*:\s*"([^"]+)"')
_NAMED_PATIENTS = re.compile(r"Patient/([A-Za-z0-9.\-]{1,64})")
_REFERENCES = re.compile(r'"reference"\s*:\s*"([^"]*)"')
# Changes some rows of a table; None where they stay as they are.
_ChangeRows = Callable[[pa.RecordBatch], pa.RecordBatch | None]


@dataclass
class LakeErasure:
    """Whom and what an erasure takes out of the lake."""

    patients: set[str] = field(default_factory=set)
    versions: ErasedVersions = field(default_factory=ErasedVersions)
    # Numbers of the lines of bronze.
    sequences: set[int] = field(default_factory=set)
    # Records of others, by `Type/id`, that lose a reference.
    cut_records: set[str] = field(default_factory=set)
    # Rows taken out and changed, by table.
    rows: dict[str, int] = field(default_factory=dict)

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
        return records | people | {str(person_key(name)) for name in people}


def list_lake_tables(lake: Lake) -> list[str]:
    """Return the tables of a lake that there are, bronze last."""
    names = [*map(gold_table_name, list_gold_views(lake)), *reversed(tuple(TABLES))]
    # Tables that no view makes any more hold rows all the same.
    filesystem, root = lake.open_storage()
    for folder in ("gold", "omop", "omop_etl"):
        infos = filesystem.get_file_info(fs.FileSelector(f"{root}{folder}", allow_not_found=True))
        names += sorted(f"{folder}/{info.base_name}" for info in infos if not info.is_file)
    unique = [name for name in dict.fromkeys(names) if name != "bronze" and lake.has_table(name)]
    return [*unique, "bronze"] if lake.has_table("bronze") else unique


def find_erased(lake: Lake, key: bytes, hashes: Collection[str]) -> LakeErasure:
    """Find, in bronze, the patients of some keyed hashes and all that is about them."""
    found = LakeErasure(patients=_find_patients(lake, key, frozenset(hashes)))
    if not found.patients:
        return found
    about = frozenset(found.patients)
    found.versions = choose_versions(
        (version for _, line in _iterate_lines(lake) if (version := _version_of(line, about))),
        about,
    )
    targets = found.targets
    newest_rules: dict[str, int] = {}
    outdated: list[tuple[int, str]] = []
    for sequence, line in _iterate_lines(lake):
        if _is_erased(line, found):
            found.sequences.add(sequence)
        elif line.kind == "version" and line.resource and _names_any(line.resource, targets):
            found.cut_records.add(record_key(line.type, line.id))
        elif line.kind == "rules" and line.id is not None:
            newest_rules[line.id] = sequence
            if _has_rule_of(line, found):
                outdated.append((sequence, line.id))
    # Rules of another account of the same person, copied from the erased one. The gateway has told
    # that account's rules anew; without newer ones the line stays, since it may close something.
    found.sequences |= {sequence for sequence, who in outdated if sequence < newest_rules[who]}
    return found


def erase_from_lake(lake: Lake, found: LakeErasure, deid_key: bytes) -> LakeErasure:
    """Take what was found out of every table but bronze, and old files of all tables.

    Call `erase_from_bronze` when everything that is made of bronze is as it shall be.
    """
    if found.patients:
        for name in list_lake_tables(lake):
            if name != "bronze":
                found.rows[name] = _rewrite_table(lake, name, _change_of(name, found, deid_key))
    return found


def erase_from_bronze(lake: Lake, found: LakeErasure) -> None:
    """Take what was found out of bronze, then delete every old file of every table."""
    if found.patients:
        found.rows["bronze"] = _rewrite_table(lake, "bronze", _change_of("bronze", found, b""))
    for name in list_lake_tables(lake):
        drop_old_files(lake, name)


# Which lines of the feed.


def _iterate_lines(lake: Lake) -> Iterator[tuple[int, FeedLine]]:
    for sequence, text in _iterate_texts(lake):
        yield sequence, parse_line(text)


def _iterate_texts(lake: Lake) -> Iterator[tuple[int, str]]:
    table = lake.open_table("bronze").to_pyarrow_dataset()
    for batch in table.to_batches(columns=["sequence", "line"], batch_size=_BATCH_ROWS):
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def _find_patients(lake: Lake, key: bytes, hashes: frozenset[str]) -> set[str]:
    seen: set[str] = set()
    found: set[str] = set()
    for _, text in _iterate_texts(lake):
        for patient in _name_patients(text):
            if patient not in seen:
                seen.add(patient)
                if hash_patient(key, patient) in hashes:
                    found.add(patient)
    return found


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


def _is_erased(line: FeedLine, found: LakeErasure) -> bool:
    if line.kind == "rules":
        return line.id in found.patients
    if line.kind == "fault":
        # It cannot be read: whatever names the patient may be about them.
        text = line.resource or ""
        return any(name in text for name in found.patients | found.targets)
    if line.type is None or line.id is None:
        return False
    return found.versions.takes(line.type, line.id, line.version)


def _has_rule_of(line: FeedLine, found: LakeErasure) -> bool:
    rules = line.rules or ""
    return any(
        f'"{identity}"' in rules for kind, identity in found.versions.records if kind == "Consent"
    )


def _names_any(text: str, targets: Collection[str]) -> bool:
    """Say whether a resource refers to something that is erased."""
    return any(
        "/".join(reference.partition("/_history/")[0].split("/")[-2:]) in targets
        for reference in _REFERENCES.findall(text)
    )


def _cut_text(text: str, targets: Collection[str]) -> str:
    """Return the JSON of a resource without references to what is erased."""
    resource = parse(text.encode())
    return serialize(resource).decode() if cut_references(resource, targets) else text


# Which rows of a table.


def _change_of(name: str, found: LakeErasure, key: bytes) -> _ChangeRows:
    if name == "bronze":
        return lambda batch: _change_bronze(batch, found)
    if name in ("silver", "silver_history", "quarantine", "findings"):
        return lambda batch: _change_versions(batch, found)
    if name == "decisions":
        return lambda batch: _drop(batch, pc.is_in(batch["patient"], _strings(found.patients)))
    if name == "identities":
        return lambda batch: _drop(batch, _is_identity_erased(batch, found))
    if name == "places":
        return lambda batch: _drop(batch, _is_place_erased(batch, found))
    if name == "steward_decisions":
        return lambda batch: _drop(batch, _is_decision_erased(batch, found))
    pseudonyms = found.pseudonyms(key)
    return lambda batch: _change_pseudonymous(batch, pseudonyms)


def _change_bronze(batch: pa.RecordBatch, found: LakeErasure) -> pa.RecordBatch | None:
    sequences = pa.array(sorted(found.sequences), pa.int64())
    kept = _drop(batch, pc.is_in(batch["sequence"], sequences))
    targets = found.targets
    texts = _first(kept, batch)["line"].to_pylist()
    changed = [_cut_line(text, targets) for text in texts]
    return _with_texts(kept, batch, "line", texts, changed)


def _cut_line(text: str, targets: Collection[str]) -> str:
    """Return a line of the feed whose resource names nothing that is erased."""
    if not _names_any(text, targets):
        return text
    line = parse_line(text)
    if line.resource is None or line.kind != "version":
        return text
    resource = _cut_text(line.resource, targets)
    if resource == line.resource:
        return text
    head = orjson.loads(text)
    del head["resource"]
    return f'{orjson.dumps(head).decode()[:-1]},"resource":{resource}}}'


def _change_versions(batch: pa.RecordBatch, found: LakeErasure) -> pa.RecordBatch | None:
    rows = zip(*(batch[name].to_pylist() for name in ("type", "id", "version")), strict=True)
    is_erased = [
        kind is not None and found.versions.takes(kind, identity, version)
        for kind, identity, version in rows
    ]
    if "key" in batch.schema.names and "resource" in batch.schema.names:
        # A line in quarantine that is no version.
        texts = batch["resource"].to_pylist()
        names = found.patients | found.targets
        is_erased = [
            erased or (kind is None and any(name in (text or "") for name in names))
            for erased, kind, text in zip(is_erased, batch["type"].to_pylist(), texts, strict=True)
        ]
    kept = _drop(batch, pa.array(is_erased))
    targets = found.targets
    if "resource" not in batch.schema.names:
        return kept
    texts = _first(kept, batch)["resource"].to_pylist()
    kinds = _first(kept, batch)["type"].to_pylist()
    changed = [
        text
        if text is None or kind is None or not _names_any(text, targets)
        else _cut_text(text, targets)
        for text, kind in zip(texts, kinds, strict=True)
    ]
    return _with_texts(kept, batch, "resource", texts, changed)


def _is_place_erased(batch: pa.RecordBatch, found: LakeErasure) -> pa.Array:
    """Say of rows of `places` whether their key names an erased record or patient."""
    names = found.targets | found.patients
    return pa.array(
        [not names.isdisjoint(_name_parts(key)) for key in batch["key"].to_pylist()], pa.bool_()
    )


def _name_parts(key: str) -> set[str]:
    """Return what a key of `places` may name: itself and its parts.

    >>> sorted(_name_parts("also:p1@7"))
    ['7', 'also', 'also:p1', 'also:p1@7', 'p1', 'p1@7']
    """
    parts = {key, *key.split("@")}
    return parts | {piece for part in parts for piece in (part, *part.split(":"))}


def _is_identity_erased(batch: pa.RecordBatch, found: LakeErasure) -> pa.Array:
    """Say of rows of `identities` whether they name an erased patient; they are made anew."""
    rows = zip(*(batch[name].to_pylist() for name in ("key", "patient", "others")), strict=True)
    return pa.array(
        [
            not found.patients.isdisjoint({key.partition(":")[2], patient, *(others or ())})
            for key, patient, others in rows
        ],
        pa.bool_(),
    )


def _is_decision_erased(batch: pa.RecordBatch, found: LakeErasure) -> pa.Array:
    """Say of decisions of stewards whether the version that they are about is erased."""
    is_erased = []
    for key, version in zip(batch["key"].to_pylist(), batch["version"].to_pylist(), strict=True):
        kind, _, identity = key.partition("/")
        is_erased.append(found.versions.takes(kind, identity, version))
    return pa.array(is_erased, pa.bool_())


def _change_pseudonymous(
    batch: pa.RecordBatch, pseudonyms: Collection[str]
) -> pa.RecordBatch | None:
    """Drop rows about erased records; elsewhere take their pseudonyms out.

    The first of the columns that name a row's own record is its key.
    """
    names = batch.schema.names
    own = [name for name in ("_key", "id", "patient", "person_source_value") if name in names]
    wanted = _strings(pseudonyms)
    is_erased = pa.array([False] * batch.num_rows)
    for name in own:
        if pa.types.is_string(batch[name].type):
            is_erased = pc.or_(is_erased, pc.is_in(batch[name], wanted))
    kept = _drop(batch, is_erased)
    for name in names:
        if pa.types.is_string(batch[name].type):
            texts = _first(kept, batch)[name].to_pylist()
            cleaned = [_without_pseudonyms(text, pseudonyms) for text in texts]
            kept = _with_texts(kept, batch, name, texts, cleaned)
    return kept


def _without_pseudonyms(value: str | None, pseudonyms: Collection[str]) -> str | None:
    """Return a value that names no erased record: a reference is null, JSON loses it."""
    if value is None or len(value) < 32:
        return value
    if value.rpartition("/")[2] in pseudonyms:
        return None
    if not value.startswith("{"):
        return value
    targets = {word for word in _quoted_references(value) if word.rpartition("/")[2] in pseudonyms}
    return _cut_text(value, targets) if targets else value


def _quoted_references(text: str) -> Iterator[str]:
    for part in text.split('"'):
        if "/" in part:
            yield part


def _drop(batch: pa.RecordBatch, is_dropped: Any) -> pa.RecordBatch | None:
    """Return the rows that stay; None where all do."""
    if not pc.any(is_dropped).as_py():
        return None
    return batch.filter(pc.invert(pc.fill_null(is_dropped, fill_value=False)))


def _first(kept: pa.RecordBatch | None, batch: pa.RecordBatch) -> pa.RecordBatch:
    # A batch without rows is false.
    return batch if kept is None else kept


def _with_texts(
    kept: pa.RecordBatch | None,
    batch: pa.RecordBatch,
    column: str,
    before: Sequence[str | None],
    after: Sequence[str | None],
) -> pa.RecordBatch | None:
    if before == after:
        return kept
    rows = _first(kept, batch)
    return rows.set_column(
        rows.schema.get_field_index(column), rows.schema.field(column), pa.array(after, pa.string())
    )


def _strings(values: Collection[str]) -> pa.Array:
    return pa.array(sorted(values), pa.string())


# Writing a table.


def _rewrite_table(lake: Lake, name: str, change: _ChangeRows) -> int:
    """Write a table without what is erased; return how many rows were taken out or changed."""
    table = lake.open_table(name)
    partitions = table.metadata().partition_columns
    column = next((item for item in (BUCKET, GOLD_BUCKET) if item in partitions), None)
    dataset = table.to_pyarrow_dataset()
    count = 0
    buckets: set[int] = set()
    for batch in dataset.to_batches(batch_size=_BATCH_ROWS):
        if batch.num_rows and (after := change(batch)) is not None:
            count += max(batch.num_rows - after.num_rows, 1)
            if column is not None:
                buckets |= set(batch[column].to_pylist())
    if not count:
        return 0
    if column is None:
        _overwrite_whole(table, dataset, change)
    else:
        for chosen in cut_buckets(buckets):
            _overwrite_buckets(table, column, chosen, change)
    return count


def _overwrite_whole(table: DeltaTable, dataset: Any, change: _ChangeRows) -> None:
    def rows() -> Iterator[pa.RecordBatch]:
        for batch in dataset.to_batches(batch_size=_BATCH_ROWS):
            after = change(batch) if batch.num_rows else None
            yield batch if after is None else after

    reader = pa.RecordBatchReader.from_batches(dataset.schema, rows())
    write_deltalake(table, reader, mode="overwrite", writer_properties=WRITER)


def _overwrite_buckets(
    table: DeltaTable, column: str, buckets: list[int], change: _ChangeRows
) -> None:
    before = read_buckets(table, buckets, column=column)
    batches = []
    for batch in before.to_batches():
        after = change(batch) if batch.num_rows else None
        batches.append(batch if after is None else after)
    rows = pa.Table.from_batches(batches, schema=before.schema)
    write_buckets(table, buckets, rows, column)
