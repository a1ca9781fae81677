"""Provenance of what an export holds, and no other (`includeAssociatedData`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ehr_fhir.json_text import parse
from ehr_fhir.references import Target, local_target
from ehr_gateway.bulk_data.request import PROVENANCE
from ehr_gateway.bulk_data.selection import ExportedRow, RowSelection, encode_texts, text_list

__all__ = ["keep_associated"]


def keep_associated(selection: RowSelection, rows: Sequence[ExportedRow]) -> list[ExportedRow]:
    """Return the Provenance of exported resources; with `latest`, the newest of each alone."""
    targets = {row.position: _list_targets(row) for row in rows}
    exported = _find_exported(selection, {one for found in targets.values() for one in found})
    if selection.request.provenance == "relevant":
        return [row for row in rows if not exported.isdisjoint(targets[row.position])]
    newest = _find_newest(selection, exported)
    return [
        row
        for row in rows
        if any(newest.get(target) == row.position for target in targets[row.position])
    ]


def _list_targets(row: ExportedRow) -> frozenset[Target]:
    references = (str(one.get("reference", "")) for one in parse(row.body).get("target", ()))
    return frozenset(target for one in references if (target := local_target(one)) is not None)


def _find_exported(selection: RowSelection, targets: Iterable[Target]) -> frozenset[Target]:
    ids: dict[str, set[str]] = {}
    for target in targets:
        if target.type in selection.request.types and target.type != PROVENANCE:
            ids.setdefault(target.type, set()).add(target.id)
    found = set()
    for kind, some in ids.items():
        of_kind = replace(
            selection,
            resource_type=kind,
            about_patients=selection.about_patients and kind in selection.request.patient_types,
        )
        found |= {Target(kind, name) for name in of_kind.find_ids(some)}
    return frozenset(found)


def _find_newest(selection: RowSelection, targets: Iterable[Target]) -> Mapping[Target, int]:
    """Return the position of the newest visible Provenance of each target."""
    connection, visible = selection.connection, selection.access.search_predicate
    registry = selection.store.registry(connection)
    rows = connection.execute(
        "SELECT x.target_type, x.target_id, MAX(r.position) FROM idx_reference x"  # noqa: S608
        " JOIN resource r ON r.pk = x.pk WHERE x.param = :param AND x.target_id"
        f" {text_list(connection.dialect, 'ids')} AND r.current = 1 AND r.deleted = 0"
        f" AND r.position <= :last AND ({visible.sql}) GROUP BY x.target_type, x.target_id",
        {
            "param": registry.ids[PROVENANCE, "target"],
            "ids": encode_texts(connection.dialect, sorted({one.id for one in targets})),
            "last": selection.request.bounds[1],
            **visible.params,
        },
    )
    return {Target(kind, name): int(position) for kind, name, position in rows}
