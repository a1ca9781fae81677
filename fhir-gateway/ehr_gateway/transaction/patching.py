"""What a patch makes of a version, worked out before the writer's lock is taken.

A patch may be long and its paths costly. If another write comes between, `writing.py` sees that the
version is no longer the current one, and asks for it anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from ehr_fhir.errors import NotFound
from ehr_fhir.json_text import parse
from ehr_fhir.patch.patch import Patch
from ehr_fhir.references import Replacements, replace_references
from ehr_gateway.access import Access
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.prepared_resource import Draft, validate_draft

__all__ = ["PatchedDraft", "apply_patch", "apply_patch_to_current"]

_NO_REPLACEMENTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class PatchedDraft:
    """The next version as a draft, and the key of the version that it was made from."""

    base: int
    draft: Draft


def apply_patch(
    current: Version, patch: Patch, access: Access, replacements: Replacements = _NO_REPLACEMENTS
) -> PatchedDraft:
    """Return what a patch makes of a version; it must be valid."""
    now = datetime.fromtimestamp(access.now_ms / 1000, UTC)
    resource = patch.apply(parse(current.body), now)
    replace_references(resource, replacements)
    return PatchedDraft(current.pk, validate_draft(resource, current.id, access, current.type))


def apply_patch_to_current(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    patch: Patch,
    if_match: int | None = None,
    replacements: Replacements = _NO_REPLACEMENTS,
) -> PatchedDraft | None:
    """Patch the current version without the lock; nothing where there is none to be patched.

    Why there is none is said inside the transaction, which sees the store as the write does.
    """
    try:
        with store.read_transaction() as connection:
            current = read_on(connection, access, resource_type, identity)
    except NotFound:
        return None
    if if_match not in (None, current.version):
        return None
    return apply_patch(current, patch, access, replacements)
