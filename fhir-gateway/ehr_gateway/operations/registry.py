"""The one registry of operations (`$name`): what is offered, on what. A test asks each of them.

The CapabilityStatement is made from it.
"""

from __future__ import annotations

from ehr_fhir.jurisdiction import JURISDICTION

__all__ = ["OPERATIONS", "of_system", "of_type"]

_DEFINITION = f"{JURISDICTION.fhir_base}/OperationDefinition/"
# By type; `*` is every type, the empty text none.
OPERATIONS: dict[str, tuple[str, ...]] = {
    "Patient": (
        "access-requests", "carers", "declare-emergency", "explain-access", "held", "invite-carer",
        "record-substitute", "request-access", "withheld",
    ),
    "SearchParameter": ("reindex",),
    "*": ("hold",),
    "": (
        "accept-invitation", "access-reviews", "acting-for", "approve-access", "end-carer",
        "notice-deliveries", "notice-preference", "notices", "redeem-access", "refuse-access",
        "release-hold", "review-access",
    ),
}  # fmt: skip


def of_type(name: str) -> list[dict[str, str]]:
    """Return the operations of a type as a CapabilityStatement lists them.

    >>> [one["name"] for one in of_type("SearchParameter")]
    ['reindex', 'hold']
    """
    return _listed((*OPERATIONS.get(name, ()), *OPERATIONS["*"]))


def of_system() -> list[dict[str, str]]:
    """Return the operations of the whole system."""
    return _listed(OPERATIONS[""])


def _listed(names: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"name": name, "definition": f"{_DEFINITION}{name}"} for name in names]
