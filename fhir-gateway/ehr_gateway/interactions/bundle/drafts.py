"""The entries of a Bundle made ready before the writer's lock is taken.

Every entry that may write has its id fixed here, so that entries may refer to each other in any
order and in circles. Only what criteria decide waits for the transaction: the ids of conditional
entries, and the resources that refer to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ehr_fhir.errors import Invalid
from ehr_fhir.references import EntryNames, replace_references, service_root
from ehr_gateway.access import Access
from ehr_gateway.ids import new_id
from ehr_gateway.interactions.bundle.entries import Entry, run_for_entry
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.patching import apply_patch_to_current
from ehr_gateway.transaction.prepared_resource import prepare_draft

__all__ = ["prepare_entries", "references_by_full_url", "replace_late_references", "sort_writes"]

# R4's order: what goes, what comes, what changes; what is asked comes after them all.
_WRITE_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2}


def prepare_entries(store: Store, access: Access, entries: Sequence[Entry]) -> list[Entry]:
    """Validate and work out every entry's resource, and patch what is to be patched."""
    fixed = [_with_id(entry) for entry in entries]
    known = references_by_full_url([one for one in fixed if not one.has_undecided_id])
    late = frozenset(one.full_url for one in fixed if one.has_undecided_id and one.full_url)
    return [
        run_for_entry(one, lambda entry: _prepare_entry(store, access, entry, known, late))
        for one in fixed
    ]


def references_by_full_url(entries: Sequence[Entry]) -> dict[str, str]:
    """Return what each fullUrl stands for; one that stands twice is refused."""
    known: dict[str, str] = {}
    for entry in entries:
        if entry.full_url and entry.method in ("POST", "PUT"):
            if entry.full_url in known:
                path = f"{entry.path}.fullUrl"
                raise Invalid(f"{path} is that of another entry too.", expression=path)
            known[entry.full_url] = f"{entry.type}/{entry.id}"
    return known


def replace_late_references(entries: Sequence[Entry], known: Mapping[str, str]) -> None:
    """Put in what the criteria of other entries have decided."""
    for entry in entries:
        if entry.draft is not None and entry.draft.has_conditional_references:
            replace_references(
                entry.draft.resource, EntryNames(known, service_root(entry.full_url))
            )


def sort_writes(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that write, in order; those that search for others come after them."""
    writes = [entry for entry in entries if entry.method in _WRITE_ORDER]
    return sorted(
        writes, key=lambda one: (_WRITE_ORDER[one.method], one.has_conditional_references)
    )


def _with_id(entry: Entry) -> Entry:
    if entry.method == "POST":
        return entry._replace(id=new_id())
    if entry.method == "PUT" and entry.id is None:
        named = entry.content.get("id")
        return entry._replace(id=named if isinstance(named, str) else None)
    return entry


def _prepare_entry(
    store: Store, access: Access, entry: Entry, known: Mapping[str, str], late: frozenset[str]
) -> Entry:
    if entry.patch is not None:
        # Where something is decided late, the patch may bring in a reference to it.
        if entry.id is None or late:
            return entry
        patched = apply_patch_to_current(
            store, access, entry.type, entry.id, entry.patch, entry.if_match, EntryNames(known)
        )
        return entry._replace(patched=patched)
    if entry.method not in ("POST", "PUT"):
        return entry
    content = entry.content
    if entry.method == "PUT" and entry.criteria is None and content.get("id") != entry.id:
        text = "The `id` in the content must be the one in the address."
        raise Invalid(text, expression=f"{entry.type}.id")
    names = EntryNames(known, service_root(entry.full_url), late)
    replace_references(content, names)
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
