"""A prescription as a clinician fills it in: a MedicationRequest with structured dosage. Pure.

It begins as a draft, is checked (`medicine_rules`), and is in force only once it is signed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.form_fields import (
    FormFault,
    length_faults,
    normalize_number,
    parse_decimal,
)
from ehr_portal.record.interpretations import LEVELS
from ehr_portal.record.medicine_names import load_rules
from ehr_portal.record.medicine_rules import MedicineCheck, MedicineFinding
from ehr_portal.record.new_entries import (
    MAX_TEXT_CHARACTERS,
    EntryAuthor,
    annotation,
    is_made_here,
    new_entry,
)

_UCUM = "http://unitsofmeasure.org"
_ROUTES_SYSTEM = "http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration"
# Unit of a dose -> UCUM code and what the form calls it.
DOSE_UNITS = {
    "tablet": ("{tablet}", N_("tablets")),
    "capsule": ("{capsule}", N_("capsules")),
    "mg": ("mg", N_("milligrams (mg)")),
    "mcg": ("ug", N_("micrograms (mcg)")),
    "g": ("g", N_("grams (g)")),
    "mL": ("mL", N_("millilitres (mL)")),
    "unit": ("{unit}", N_("units")),
    "puff": ("{puff}", N_("puffs")),
    "drop": ("[drp]", N_("drops")),
    "patch": ("{patch}", N_("patches")),
}
# HL7 v3 RouteOfAdministration -> display, and what the form calls it.
ROUTES = {
    "PO": ("Swallow, oral", N_("By mouth")),
    "SL": ("Dissolve, sublingual", N_("Under the tongue")),
    "IV": ("Injection, intravenous", N_("Into a vein")),
    "IM": ("Injection, intramuscular", N_("Into a muscle")),
    "SQ": ("Injection, subcutaneous", N_("Under the skin")),
    "IPINHL": ("Inhalation, respiratory", N_("Inhaled")),
    "SKIN": ("Topical application, skin", N_("On the skin")),
    "TRNSDERM": ("Transdermal", N_("As a patch")),
    "OPDROP": ("Instillation, ocular", N_("Into the eye")),
    "PR": ("Insertion, rectal", N_("Into the rectum")),
}
# How often -> what the form calls it, and Timing.repeat.
FREQUENCIES: dict[str, tuple[str, dict[str, Any]]] = {
    "1d": (N_("Once a day"), {"frequency": 1, "period": 1, "periodUnit": "d"}),
    "2d": (N_("Twice a day"), {"frequency": 2, "period": 1, "periodUnit": "d"}),
    "3d": (N_("Three times a day"), {"frequency": 3, "period": 1, "periodUnit": "d"}),
    "4d": (N_("Four times a day"), {"frequency": 4, "period": 1, "periodUnit": "d"}),
    "hs": (N_("Before going to sleep"), {"when": ["HS"]}),
    "4h": (N_("Every 4 hours"), {"frequency": 1, "period": 4, "periodUnit": "h"}),
    "6h": (N_("Every 6 hours"), {"frequency": 1, "period": 6, "periodUnit": "h"}),
    "8h": (N_("Every 8 hours"), {"frequency": 1, "period": 8, "periodUnit": "h"}),
    "12h": (N_("Every 12 hours"), {"frequency": 1, "period": 12, "periodUnit": "h"}),
    "1wk": (N_("Once a week"), {"frequency": 1, "period": 1, "periodUnit": "wk"}),
    "once": (N_("Once only"), {"count": 1}),
}
DURATION_UNITS = {"d": N_("days"), "wk": N_("weeks"), "mo": N_("months")}
# Fields of free text.
_TEXTS = ("medicine", "needed-for", "reason", "instruction")
_MAX_AMOUNT = 100_000
_MAX_AMOUNT_CHARACTERS = 9


def known_medicines() -> list[str]:
    """Return the names that the check knows, for a form to suggest."""
    return sorted(load_rules()["ingredients"])


def parse_amount(typed: str) -> float | None:
    """Return a typed amount, None where it is none or beyond what a dose can be.

    >>> parse_amount("0.5"), parse_amount("２"), parse_amount("1e3"), parse_amount("0")
    (0.5, 2.0, None, None)
    """
    amount = parse_decimal(normalize_number(typed), _MAX_AMOUNT_CHARACTERS)
    return amount if amount is not None and 0 < amount <= _MAX_AMOUNT else None


def find_prescription_faults(form: Mapping[str, str]) -> list[FormFault]:
    """Return what is wrong with the form of a prescription."""
    faults = []
    if not form.get("medicine", "").strip():
        faults.append(FormFault("medicine", N_("Type the name of the medicine.")))
    if parse_amount(form.get("dose", "")) is None:
        faults.append(FormFault("dose", N_("Type the dose as a number, such as 0.5 or 2.")))
    choices: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("unit", DOSE_UNITS), ("route", ROUTES), ("frequency", FREQUENCIES),
    )  # fmt: skip
    for field, known in choices:
        if form.get(field, "") not in known:
            faults.append(FormFault(field, N_("Choose one.")))
    duration = normalize_number(form.get("duration", ""))
    if duration and not (re.fullmatch("[0-9]{1,4}", duration) and int(duration)):
        faults.append(FormFault("duration", N_("Type a whole number.")))
    if duration and form.get("frequency") == "once":
        faults.append(FormFault("duration", N_("What is given once only is not given for days.")))
    if form.get("needed-for", "").strip() and not form.get("as-needed"):
        text = N_("Tick that it is taken only when needed, or leave this empty.")
        faults.append(FormFault("needed-for", text))
    # What is taken when needed must have a limit, or it is taken without one.
    needs_most = bool(form.get("as-needed")) or bool(form.get("most", "").strip())
    if needs_most and parse_amount(form.get("most", "")) is None:
        faults.append(FormFault("most", N_("Type the most that may be taken in a day.")))
    elif needs_most and not faults and _daily_amount(form) > _typed_amount(form, "most"):
        text = N_("This is less than what the dose and how often come to in a day.")
        faults.append(FormFault("most", text))
    faults += length_faults(form, _TEXTS, MAX_TEXT_CHARACTERS)
    return faults


def _typed_amount(form: Mapping[str, str], field: str) -> float:
    return parse_amount(form.get(field, "")) or 0.0


def _daily_amount(form: Mapping[str, str]) -> float:
    """Return what is taken in a day at least: one dose of what is taken only when needed."""
    repeat = FREQUENCIES[form["frequency"]][1]
    units_a_day = {"d": 1, "h": 24}.get(repeat.get("periodUnit", ""))
    times = 1.0
    if units_a_day is not None and not form.get("as-needed"):
        times = units_a_day * repeat["frequency"] / repeat["period"]
    return times * _typed_amount(form, "dose")


def build_prescription(
    patient: str, author: EntryAuthor, form: Mapping[str, str], token: str, now: datetime
) -> dict[str, Any]:
    """Return the draft of a form without faults."""
    request = new_entry(
        "MedicationRequest",
        author,
        token,
        status="draft",
        intent="order",
        medicationCodeableConcept={"text": form["medicine"].strip()},
        subject={"reference": f"Patient/{patient}"},
        authoredOn=now.isoformat(),
        requester=author.person,
        dosageInstruction=[_build_dosage(form)],
    )
    if form.get("reason", "").strip():
        request["reasonCode"] = [{"text": form["reason"].strip()}]
    return request


def _build_dosage(form: Mapping[str, str]) -> dict[str, Any]:
    code, _ = DOSE_UNITS[form["unit"]]
    amount = {"unit": form["unit"], "system": _UCUM, "code": code}
    repeat = dict(FREQUENCIES[form["frequency"]][1])
    if duration := normalize_number(form.get("duration", "")):
        unit = form.get("duration-unit", "d")
        unit = unit if unit in DURATION_UNITS else "d"
        length = {"value": int(duration), "unit": unit, "system": _UCUM, "code": unit}
        repeat["boundsDuration"] = length
    display, _ = ROUTES[form["route"]]
    dosage: dict[str, Any] = {
        "timing": {"repeat": repeat},
        "route": {
            "coding": [{"system": _ROUTES_SYSTEM, "code": form["route"], "display": display}]
        },
        "doseAndRate": [{"doseQuantity": {"value": parse_amount(form["dose"]), **amount}}],
    }
    if form.get("as-needed"):
        why = form.get("needed-for", "").strip()
        dosage |= {"asNeededCodeableConcept": {"text": why}} if why else {"asNeededBoolean": True}
    if form.get("most", "").strip():
        day = {"value": 1, "unit": "d", "system": _UCUM, "code": "d"}
        most = {"value": parse_amount(form["most"]), **amount}
        dosage["maxDosePerPeriod"] = {"numerator": most, "denominator": day}
    if form.get("instruction", "").strip():
        dosage["patientInstruction"] = form["instruction"].strip()
    return dosage


def is_draft_of_portal(order: Resource) -> bool:
    """Return whether an order is a draft of this portal, which waits to be signed."""
    is_order = order.get("resourceType") == "MedicationRequest"
    return is_order and order.get("status") == "draft" and is_made_here(order)


def findings_about(check: MedicineCheck, draft: Resource) -> list[MedicineFinding]:
    """Return the findings that concern a draft; those among other orders are not its."""
    return [
        finding
        for finding in check.findings
        if any(order.get("id") == draft["id"] for order in finding.orders)
    ]


def digest_findings(findings: Iterable[MedicineFinding], unchecked: Iterable[Resource]) -> str:
    """Return a digest of what a check said, so that what is signed is what was read."""
    said = [
        "|".join(
            (
                finding.kind,
                finding.level,
                finding.rule,
                *(str(order.get("id")) for order in finding.orders),
                *finding.ingredients,
                str((finding.allergy or {}).get("id", "")),
            )
        )
        for finding in sorted(findings, key=lambda each: (LEVELS.index(each.level), each.rule))
    ]
    said += sorted(f"unchecked|{resource.get('id')}" for resource in unchecked)
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:32]


def sign_prescription(
    draft: Resource, author: EntryAuthor, overridden: str, now: datetime
) -> dict[str, Any]:
    """Return a draft as signed: in force from now, with what was overridden and why."""
    signed = {
        **draft,
        "status": "active",
        "authoredOn": now.isoformat(),
        "requester": author.person,
    }
    if overridden:
        signed["note"] = [*draft.get("note", ()), annotation(overridden, author, now)]
    return signed
