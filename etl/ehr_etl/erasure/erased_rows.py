"""Rows of a table without what an erasure takes out: one function of some rows for each table."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.change_feed.entries import parse_line
from ehr_etl.erasure.erased_lines import LakeErasure, refers_to_any, rename_in_text
from ehr_fhir.json_text import parse, serialize
from ehr_privacy.erasure import cut_references, rename_erased

__all__ = ["ChangeRows", "choose_row_change", "cut_text"]

# Columns that say whose a row is. A cohort that a user's tool made has `subject_id` alone.
_OWN_COLUMNS = frozenset(
    {"_key", "id", "record_id", "patient", "person_source_value", "person_id", "subject_id"}
)
# Returns the rows that stay, changed; the very same batch where nothing of it is erased.
ChangeRows = Callable[[pa.RecordBatch], pa.RecordBatch]


def choose_row_change(name: str, erasure: LakeErasure, key: bytes) -> ChangeRows:
    """Return what takes the rows of an erasure out of a table."""
    if name == "bronze":
        return lambda batch: _change_bronze(batch, erasure)
    if name in ("silver", "silver_history", "quarantine", "findings"):
        return lambda batch: _change_versions(batch, erasure)
    if name == "decisions":
        return lambda batch: _change_decisions(batch, erasure)
    if name == "identities":
        return lambda batch: _drop(batch, _is_identity_erased(batch, erasure))
    if name == "places":
        return lambda batch: _drop(batch, _is_place_erased(batch, erasure))
    if name == "steward_decisions":
        return lambda batch: _drop(batch, _is_decision_erased(batch, erasure))
    pseudonyms, persons = erasure.pseudonyms(key), erasure.person_keys(key)
    return lambda batch: _change_pseudonymous(batch, pseudonyms, persons)


def cut_text(
    text: str, targets: Collection[str], aliases: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the JSON of a resource without references to what is erased."""
    resource = parse(text.encode())
    return serialize(resource).decode() if cut_references(resource, targets, aliases) else text


def _change_bronze(batch: pa.RecordBatch, erasure: LakeErasure) -> pa.RecordBatch:
    sequences = pa.array(sorted(erasure.sequences), pa.int64())
    kept = _drop(batch, pc.is_in(batch["sequence"], sequences))
    targets = erasure.targets
    # Short of these a line need not be read.
    named = {name.partition("/")[2] for name in erasure.aliases}
    pattern = re.compile("|".join(map(re.escape, sorted(named))) or "$^")
    texts = kept["line"].to_pylist()
    changed = [
        _cut_line(text, erasure, targets)
        if pattern.search(text) or refers_to_any(text, targets)
        else text
        for text in texts
    ]
    return _with_texts(kept, "line", texts, changed)


def _cut_line(text: str, erasure: LakeErasure, targets: Collection[str]) -> str:
    """Return a line of the feed whose resource, facts and rules name nothing that is erased."""
    line = parse_line(text)
    if line.kind not in ("version", "facts", "rules"):
        return text
    head = orjson.loads(text)
    rows = [head.get("facts"), *(head.get("rules") or ())]
    renamed = [rename_erased(row, erasure.aliases) for row in rows if isinstance(row, dict)]
    resource = line.resource and cut_text(line.resource, targets, erasure.aliases)
    if resource == line.resource and not any(renamed):
        return text
    if resource is None:
        return orjson.dumps(head).decode()
    del head["resource"]
    return f'{orjson.dumps(head).decode()[:-1]},"resource":{resource}}}'


def _change_decisions(batch: pa.RecordBatch, erasure: LakeErasure) -> pa.RecordBatch:
    kept = _drop(batch, pc.is_in(batch["patient"], _strings(erasure.patients)))
    return _rename(kept, "rules", erasure)


def _rename(rows: pa.RecordBatch, column: str, erasure: LakeErasure) -> pa.RecordBatch:
    """Put aliases for erased records into a column of facts or rules."""
    texts = rows[column].to_pylist()
    renamed = [rename_in_text(text, erasure.aliases) for text in texts]
    return _with_texts(rows, column, texts, renamed)


def _change_versions(batch: pa.RecordBatch, erasure: LakeErasure) -> pa.RecordBatch:
    rows = zip(*(batch[name].to_pylist() for name in ("type", "id", "version")), strict=True)
    is_erased = [
        kind is not None and erasure.versions.takes(kind, identity, version)
        for kind, identity, version in rows
    ]
    if "key" in batch.schema.names and "resource" in batch.schema.names:
        # A line in quarantine that is no version.
        texts = batch["resource"].to_pylist()
        names = erasure.patients | erasure.targets
        is_erased = [
            erased or (kind is None and any(name in (text or "") for name in names))
            for erased, kind, text in zip(is_erased, batch["type"].to_pylist(), texts, strict=True)
        ]
    kept = _drop(batch, pa.array(is_erased, pa.bool_()))
    targets = erasure.targets
    if "facts" in batch.schema.names:
        kept = _rename(kept, "facts", erasure)
    if "elements" in batch.schema.names:
        kept = _cut_elements(kept, targets)
    if "resource" not in batch.schema.names:
        return kept
    texts = kept["resource"].to_pylist()
    kinds = kept["type"].to_pylist()
    changed = [
        text
        if text is None or kind is None or not refers_to_any(text, targets)
        else cut_text(text, targets, erasure.aliases)
        for text, kind in zip(texts, kinds, strict=True)
    ]
    return _with_texts(kept, "resource", texts, changed)


def _cut_elements(rows: pa.RecordBatch, targets: Collection[str]) -> pa.RecordBatch:
    """Take elements of erased records, such as `Patient/p#id`, out of what a fault names."""
    before = rows["elements"].to_pylist()
    after = [
        listed and [name for name in listed if name.partition("#")[0] not in targets]
        for listed in before
    ]
    if before == after:
        return rows
    number = rows.schema.get_field_index("elements")
    field = rows.schema.field("elements")
    return rows.set_column(number, field, pa.array(after, field.type))


def _is_place_erased(batch: pa.RecordBatch, erasure: LakeErasure) -> pa.Array:
    """Say of rows of `places` whether their key names an erased record or patient."""
    names = erasure.targets | erasure.patients
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


def _is_identity_erased(batch: pa.RecordBatch, erasure: LakeErasure) -> pa.Array:
    """Say of rows of `identities` whether they name an erased patient; they are made anew."""
    rows = zip(*(batch[name].to_pylist() for name in ("key", "patient", "others")), strict=True)
    return pa.array(
        [
            not erasure.patients.isdisjoint({key.partition(":")[2], patient, *(others or ())})
            for key, patient, others in rows
        ],
        pa.bool_(),
    )


def _is_decision_erased(batch: pa.RecordBatch, erasure: LakeErasure) -> pa.Array:
    """Say of decisions of stewards whether the version that they are about is erased."""
    is_erased = []
    for key, version in zip(batch["key"].to_pylist(), batch["version"].to_pylist(), strict=True):
        kind, _, identity = key.partition("/")
        is_erased.append(erasure.versions.takes(kind, identity, version))
    return pa.array(is_erased, pa.bool_())


def _change_pseudonymous(
    batch: pa.RecordBatch, pseudonyms: Collection[str], persons: Collection[int]
) -> pa.RecordBatch:
    """Drop rows about erased records or persons of OMOP; elsewhere take their pseudonyms out."""
    names = batch.schema.names
    wanted, numbers = _strings(pseudonyms), pa.array(sorted(persons), pa.int64())
    is_erased = pa.array([False] * batch.num_rows)
    for name in _OWN_COLUMNS & set(names):
        column = batch[name]
        if pa.types.is_string(column.type):
            # `Type/pseudonym` in some tables.
            last = pc.replace_substring_regex(column, "^.*/", "")
            is_erased = pc.or_(is_erased, _is_in(last, wanted))
        elif pa.types.is_int64(column.type):
            is_erased = pc.or_(is_erased, _is_in(column, numbers))
    kept = _drop(batch, is_erased)
    for name in names:
        if pa.types.is_string(batch[name].type):
            texts = kept[name].to_pylist()
            cleaned = [_without_pseudonyms(text, pseudonyms) for text in texts]
            kept = _with_texts(kept, name, texts, cleaned)
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
    return cut_text(value, targets) if targets else value


def _quoted_references(text: str) -> Iterator[str]:
    for part in text.split('"'):
        if "/" in part:
            yield part


def _drop(batch: pa.RecordBatch, is_dropped: Any) -> pa.RecordBatch:
    """Return the rows that stay; the very same batch where all do."""
    if not pc.any(is_dropped).as_py():
        return batch
    return batch.filter(pc.invert(pc.fill_null(is_dropped, fill_value=False)))


def _with_texts(
    rows: pa.RecordBatch, column: str, before: Sequence[str | None], after: Sequence[str | None]
) -> pa.RecordBatch:
    """Return rows with other texts in a column; the very same rows where no text is another."""
    if before == after:
        return rows
    return rows.set_column(
        rows.schema.get_field_index(column), rows.schema.field(column), pa.array(after, pa.string())
    )


def _is_in(column: Any, wanted: pa.Array) -> Any:
    return pc.fill_null(pc.is_in(column, wanted), fill_value=False)


def _strings(values: Collection[str]) -> pa.Array:
    return pa.array(sorted(values), pa.string())
