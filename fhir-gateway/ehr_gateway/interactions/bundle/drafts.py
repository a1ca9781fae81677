"""Prepare the entries of a Bundle before the writer's lock is taken.

Every entry that may create a resource gets its id here, so that entries may refer to each other in
any order and in circles. Only what criteria decide is left to the transaction: the ids of
conditional entries, and the resources that refer to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ehr_fhir.errors import Invalid
from ehr_fhir.references import EntryNames, service_root
from ehr_fhir.resource_links import replace_links
from ehr_fhir.validation.validate import validate
from ehr_gateway.access import Access
from ehr_gateway.ids import new_id
from ehr_gateway.interactions.bundle.entries import Entry, run_for_entry
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.patching import apply_patch_to_current
from ehr_gateway.transaction.prepared_resource import prepare_draft

__all__ = ["prepare_entries", "references_by_full_url", "replace_late_references", "sort_writes"]

# R4's processing order (§3.1.0.11.2): deletes, creates, updates and patches; reads follow them.
_WRITE_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2}


def prepare_entries(store: Store, access: Access, entries: Sequence[Entry]) -> list[Entry]:
    """Validate and prepare every entry's resource, and apply its patches."""
    with_ids = [_with_id(entry) for entry in entries]
    references = references_by_full_url([entry for entry in with_ids if not entry.has_undecided_id])
    undecided = {
        entry.full_url: entry.type
        for entry in with_ids
        if entry.has_undecided_id and entry.full_url
    }
    return [
        run_for_entry(
            entry, lambda entry: _prepare_entry(store, access, entry, references, undecided)
        )
        for entry in with_ids
    ]


def references_by_full_url(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the reference (Type/id) that each fullUrl stands for; refuse one that occurs twice."""
    references: dict[str, str] = {}
    for entry in entries:
        if entry.full_url and entry.method in ("POST", "PUT"):
            if entry.full_url in references:
                path = f"{entry.path}.fullUrl"
                raise Invalid(f"{path} is that of another entry too.", expression=path)
            references[entry.full_url] = f"{entry.type}/{entry.id}"
    return references


def replace_late_references(entries: Sequence[Entry], references: Mapping[str, str]) -> None:
    """Replace references to entries whose ids the criteria have decided by now."""
    for entry in entries:
        if entry.draft is not None and entry.draft.has_conditional_references:
            replace_links(
                entry.draft.resource, EntryNames(references, service_root(entry.full_url))
            )


def sort_writes(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that write, in R4's order; those with open references after the others."""
    writes = [entry for entry in entries if entry.method in _WRITE_ORDER]
    return sorted(
        writes, key=lambda entry: (_WRITE_ORDER[entry.method], entry.has_conditional_references)
    )


def _with_id(entry: Entry) -> Entry:
    if entry.method == "POST":
        return entry._replace(id=new_id())
    if entry.method == "PUT" and entry.id is None:
        sent_id = entry.content.get("id")
        return entry._replace(id=sent_id if isinstance(sent_id, str) else None)
    return entry


def _prepare_entry(
    store: Store,
    access: Access,
    entry: Entry,
    references: Mapping[str, str],
    undecided: Mapping[str, str],
) -> Entry:
    if entry.patch is not None:
        # A patch may add a reference to an entry whose id is not decided yet: leave it for later.
        if entry.id is None or undecided:
            return entry
        patched = apply_patch_to_current(
            store, access, entry.type, entry.id, entry.patch, entry.if_match, EntryNames(references)
        )
        return entry._replace(patched=patched)
    if entry.method not in ("POST", "PUT"):
        return entry
    content = entry.content
    if entry.method == "PUT" and entry.criteria is None and content.get("id") != entry.id:
        text = "The `id` in the content must be the one in the address."
        raise Invalid(text, expression=f"{entry.type}.id")
    names = EntryNames(references, service_root(entry.full_url), frozenset(undecided))
    replace_links(content, names)
    if names.waits:
        # Their ids come later; their types are known, and which types may be named.
        validate(content, entry.type, undecided)
    path = f"{entry.path}.resource"
    draft = prepare_draft(
        content,
        entry.id or new_id(),
        access,
        entry.type,
        has_conditional_references=names.waits,
        path=path,
    )
    return entry._replace(draft=draft)
