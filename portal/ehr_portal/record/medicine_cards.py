"""What a check of medicines says of orders that are about to be placed, as short texts.

For screens of others (CDS Hooks); the portal's own pages show the findings themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.display import Text, compose
from ehr_portal.record.interpretations import CRITICAL, STRONG
from ehr_portal.record.medicine_findings import MedicineFinding
from ehr_portal.record.medicine_names import load_rules
from ehr_portal.record.medicine_rules import check_medicines
from ehr_portal.record.medicine_texts import finding_sentence

__all__ = ["OrderNotice", "describe_orders"]

_ORDERS = ("MedicationRequest", "MedicationStatement")
_INDICATORS = {CRITICAL: "critical", STRONG: "warning"}


@dataclass(frozen=True)
class OrderNotice:
    """One finding about a draft: a sentence, Markdown below it, `info`, `warning` or `critical`."""

    summary: str
    detail: str
    indicator: str

    @property
    def version(self) -> str:
        """Return the version of the rules."""
        return str(load_rules()["version"])


def describe_orders(
    drafts: Sequence[Resource],
    records: Iterable[Resource],
    now: datetime,
    language: str,
    *,
    is_partial: bool,
) -> list[OrderNotice]:
    """Return what drafts mean for the medicines and allergies of a record, the gravest first.

    Findings between orders that are there already are left out: nobody is about to place those.
    `is_partial`: the reader may not see all of the record, and is told so. Without any finding
    that is told too, since silence would look like safety.
    """
    by_type: dict[str, list[Resource]] = {}
    for record in records:
        by_type.setdefault(record["resourceType"], []).append(record)
    orders = [order for kind in _ORDERS for order in by_type.get(kind, ())]
    included = {f"Medication/{one['id']}": one for one in by_type.get("Medication", ())}
    medicines = [draft for draft in drafts if draft.get("resourceType") in _ORDERS]
    check = check_medicines(
        [*medicines, *orders], by_type.get("AllergyIntolerance", ()), included, now
    )
    scope = compose(
        language,
        N_(
            "Checked: %(orders)s orders and %(allergies)s allergies, by a short list of rules. It"
            " is no full check: nothing found does not mean safe."
        ),
        orders=str(check.size),
        allergies=str(check.allergy_count),
    ).text
    partial = compose(
        language, N_("A part of this record is not shown to you, and was not checked.")
    ).text
    if is_partial:
        scope = f"{scope} {partial}"
    drafted = {id(draft) for draft in medicines}
    notices = [
        OrderNotice(
            finding_sentence(finding, language).text,
            _write_detail(finding, scope),
            _INDICATORS.get(finding.level, "info"),
        )
        for finding in check.findings
        if drafted & {id(order) for order in finding.orders}
    ]
    unread = sum(id(order) in drafted for order in check.unrecognised)
    if unread:
        sentence = compose(
            language,
            N_("%(count)s of the medicines was not recognised, and so not checked."),
            count=Text(str(unread), language),
        )
        notices.append(OrderNotice(sentence.text, scope, "info"))
    if medicines and is_partial and not notices:
        notices.append(OrderNotice(partial, scope, "info"))
    return notices


def _write_detail(finding: MedicineFinding, scope: str) -> str:
    return f"{scope}\n\n{finding.source}" if finding.source else scope
