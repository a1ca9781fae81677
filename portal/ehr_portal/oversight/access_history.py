"""The access history of a patient: visits of one person each, as `$access-history` lists them.

One page view asks the gateway many things; what one person asked within a short time is one visit.
The gateway groups them (docs/explanation/portal.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.sections import DOMAIN_TITLES, TYPE_TITLES

# The longest pause within a visit, as the gateway has it.
VISIT_GAP = timedelta(minutes=15)

ROLE_TITLES = {
    "clinician": N_("Clinician"),
    "patient": N_("Patient"),
    "carer": N_("Carer"),
    "steward": N_("Data steward"),
    "auditor": N_("Auditor"),
    "researcher": N_("Researcher"),
    "administrator": N_("Administrator"),
    "system": N_("Computer system"),
    "health-link": N_("Somebody who has a link"),
}
PURPOSE_TITLES = {
    "TREAT": N_("To treat you"),
    "ETREAT": N_("In an emergency"),
    "PATRQT": N_("At your own request"),
    "HOPERAT": N_("To run the service"),
    "HRESCH": N_("For research"),
    "HSYSADMIN": N_("To run the service"),
}
# The line of the consent table that permitted, as the log has it.
REASON_TITLES = {
    "own-record": N_("It wrote these records itself"),
    "shared": N_("You share your record with it"),
    "grant": N_("You approved this access with a code"),
    "emergency": N_("An emergency was declared"),
    "carer": N_("You gave this carer the power to look"),
    "named": N_("The search was about you"),
    "counted": N_("You were counted in a search"),
    "opened": N_("It changed something that your records name"),
    "health-link": N_("You made a link that opens the summary"),
    "feed": N_("Changes are copied for statistics and research"),
}
# What somebody did beside reading and writing records, by the gateway's operation.
OPERATION_TITLES = {
    "accept-invitation": N_("Accepted an invitation to be a carer"),
    "access-history": N_("Looked at who looked"),
    "access-requests": N_("Looked at requests for access"),
    "access-reviews": N_("Looked at accesses to be reviewed"),
    "acting-for": N_("Looked up for whom they may act"),
    "answer-correction": N_("Answered a request for a correction"),
    "approve-access": N_("Approved a request for access"),
    "attach-statement": N_("Attached a statement to a record"),
    "breach-report": N_("Listed whose records were reached"),
    "carers": N_("Looked at the list of carers"),
    "choices": N_("Looked at the choices that were made"),
    "correct-facts": N_("Corrected by what a record is judged"),
    "corrections": N_("Looked at the requests for corrections"),
    "counter-patient": N_("Looked up whose identity card it is"),
    "create-health-link": N_("Made a link that opens the summary"),
    "decide-duplicate": N_("Decided that two records are two people's"),
    "decide-erasure": N_("Decided whether a record is erased"),
    "decide-finding": N_("Decided what becomes of a record with a fault"),
    "decide-identity": N_("Decided a change of personal details"),
    "decide-merge": N_("Decided whether two records are one person's"),
    "declare-emergency": N_("Declared an emergency to see the record"),
    "diff": N_("Compared versions of a record"),
    "docref": N_("Looked at the list of documents"),
    "document": N_("Read a document"),
    "duplicates": N_("Looked at records that may be one person's"),
    "end-carer": N_("Ended a carer's power"),
    "end-health-link": N_("Ended a link that opened the summary"),
    "erasures": N_("Looked at the erasures"),
    "events": N_("Was told of changes in the record"),
    "everything": N_("Read the whole record"),
    "explain-access": N_("Asked who may see a record, and why"),
    "export": N_("Took a copy of many records"),
    "finding": N_("Looked at a fault in a record"),
    "findings": N_("Looked at the list of faults in records"),
    "health-links": N_("Looked at the links that open the summary"),
    "held": N_("Looked at results that are held back"),
    "hold": N_("Held a result back until it is explained"),
    "identity-proposals": N_("Looked at proposed changes of personal details"),
    "invite-carer": N_("Invited a carer"),
    "lastn": N_("Looked at the newest measurements"),
    "lift-suspension": N_("Lifted a suspension"),
    "match": N_("Looked for records of one person"),
    "merge": N_("Proposed to join two records of one person"),
    "merges": N_("Looked at the list of joined records"),
    "meta": N_("Looked at the marks of a record"),
    "meta-add": N_("Marked a record as sensitive"),
    "meta-delete": N_("Took a mark off a record"),
    "model-worklist": N_("Looked at a list of patients by their risk"),
    "move": N_("Moved a record to the person it is about"),
    "notice-deliveries": N_("Looked at whether notices arrived"),
    "notice-preference": N_("Changed how notices are sent"),
    "notices": N_("Read the notices"),
    "notify-breach": N_("Told the patient that their record was reached"),
    # No operation of the API, but on record as one.
    "open-health-link": N_("Opened the summary with a link that you gave out"),
    "patient-list": N_("Looked at a list of patients"),
    "preview-access": N_("Tried out what a choice would change"),
    "purge": N_("Asked for the record to be erased"),
    "read-notices": N_("Marked the notices as read"),
    "recent-patients": N_("Looked at the patients they opened lately"),
    "record-substitute": N_("Recorded who decides for the patient"),
    "redeem-access": N_("Used a code to see more"),
    "refuse-access": N_("Refused a request for access"),
    "release-hold": N_("Released a result that was held back"),
    "report-findings": N_("Reported faults in records"),
    "request-access": N_("Asked to see more"),
    "request-correction": N_("Asked for a correction"),
    "review-access": N_("Reviewed an access"),
    "settle": N_("Settled a request"),
    "stats": N_("Looked at statistics of measurements"),
    "summary": N_("Read the patient summary"),
    "suspend": N_("Suspended somebody's access"),
    "suspensions": N_("Looked at the suspensions"),
    "unmerge": N_("Proposed to take two records apart"),
    "unread-notices": N_("Counted the new notices"),
    "validate": N_("Checked a record for faults"),
    "waiting": N_("Looked at how much waits"),
    "withdraw": N_("Marked a record as wrong"),
    "withheld": N_("Asked whether anything is withheld"),
    "worklist": N_("Looked at the list of work"),
}

_KIND_TITLES = {**TYPE_TITLES, **DOMAIN_TITLES, "AuditEvent": N_("The list of accesses")}


@dataclass(frozen=True)
class Visit:
    """What one person of one organisation did for one purpose, without a long pause."""

    login: str
    person: str
    role: str
    organization: str
    # A code of PURPOSE_TITLES.
    purpose: str
    # Instants of the first and the last access.
    start: str
    end: str
    # Titles of the kinds of records that were looked at, changed, and one or the other (in
    # Bundles), each in the order they were met; still to translate.
    looked_at: tuple[str, ...]
    changed: tuple[str, ...]
    in_bundles: tuple[str, ...]
    # Codes of OPERATION_TITLES, and the Consents that these operations made.
    operations: tuple[str, ...]
    consents: tuple[str, ...]
    # Whether it searched.
    searched: bool
    refused: bool
    # Whether it was the patient.
    is_own: bool
    # Why it could be seen, by the codes of REASON_TITLES.
    reasons: tuple[str, ...] = ()
    # How many patients were on the list that the patient was shown in; 0 without one.
    list_size: int = 0

    @property
    def is_told(self) -> bool:
        """Whether the lists say what was done."""
        return bool(self.looked_at or self.changed or self.in_bundles or self.operations)


@dataclass(frozen=True)
class VisitPage:
    """One page of visits, newest first."""

    visits: list[Visit]
    # Where the next page begins; empty if this is the last one.
    next_cursor: str


def parse_visits(answer: Resource) -> VisitPage:
    """Return the visits of an answer of `$access-history`."""
    parameters = answer.get("parameter", ())
    visits = [
        _parse_visit(parameter.get("part", ()))
        for parameter in parameters
        if parameter["name"] == "visit"
    ]
    cursors = [
        str(parameter["valueString"]) for parameter in parameters if parameter["name"] == "next"
    ]
    return VisitPage(visits, next(iter(cursors), ""))


def _parse_visit(parts: Iterable[Resource]) -> Visit:
    values = [(part["name"], _value(part)) for part in parts]

    def listed(name: str) -> tuple[str, ...]:
        return tuple(str(value) for known, value in values if known == name)

    def first(name: str) -> str:
        return next(iter(listed(name)), "")

    period: Resource = next((value for name, value in values if name == "period"), {})
    return Visit(
        login=first("login"),
        person=first("person") or first("login"),
        role=first("role"),
        organization=first("organization").removeprefix("Organization/"),
        purpose=first("purpose"),
        start=str(period["start"]),
        end=str(period["end"]),
        looked_at=_titles(listed("looked-at")),
        changed=_titles(listed("changed")),
        in_bundles=_titles(listed("in-bundle")),
        operations=tuple(code for code in listed("operation") if code in OPERATION_TITLES),
        consents=tuple(name.removeprefix("Consent/") for name in listed("consent")),
        searched=("searched", True) in values,
        refused=("refused", True) in values,
        is_own=("own", True) in values,
        reasons=tuple(code for code in listed("reason") if code in REASON_TITLES),
        list_size=int(first("list-of") or 0),
    )


def _value(part: Resource) -> Any:
    if "valueReference" in part:
        return part["valueReference"]["reference"]
    return next((content for key, content in part.items() if key.startswith("value")), "")


def _titles(codes: Iterable[str]) -> tuple[str, ...]:
    """Return the titles of data domains and resource types, without repetitions."""
    return tuple(dict.fromkeys(_KIND_TITLES[code] for code in codes if code in _KIND_TITLES))
