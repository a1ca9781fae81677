"""The history of a patient's choices: parsed from `$choices`, and the Consent that undoes one.

Pure. To undo is to choose anew: the version before is written again, from now on. What the gateway
calls final ended for good, and no later version brings it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ehr_fhir.dates import date_interval
from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts
from ehr_portal.i18n import N_
from ehr_portal.sharing.consents import deactivate_consent, format_instant, provision_of
from ehr_portal.sharing.restrictions import RestrictionTerms, parse_terms

__all__ = ["CHOICE_TITLES", "Choice", "parse_choices", "plan_undo"]

# By category and state of the Consent; a category that the page has no words for has its own.
CHOICE_TITLES = {
    ("joining", "active"): N_("Joined"),
    ("joining", "inactive"): N_("Left"),
    ("sharing", "active"): N_("Shared the record"),
    ("sharing", "inactive"): N_("Ended the sharing"),
    ("restriction", "active"): N_("Closed part of the record"),
    ("restriction", "inactive"): N_("Opened again what was closed"),
    ("research", "deny"): N_("Said no to research"),
    ("research", "permit"): N_("Said yes to research"),
    ("research", "inactive"): N_("Took the choice about research back"),
    ("step-up", "active"): N_("Agreed to a request for access"),
    ("step-up", "rejected"): N_("Refused a request for access"),
    ("step-up", "inactive"): N_("Ended an access that was agreed to"),
    ("carer", "active"): N_("A carer may act"),
    ("carer", "inactive"): N_("Ended what a carer may do"),
    ("notices", ""): N_("Changed how notices are sent"),
}
OTHER_TITLE = N_("Changed a choice")
DELETED_TITLE = N_("Took a choice back")
# Only what a later version brings about again is undone by one.
_UNDONE_CATEGORIES = frozenset({"sharing", "restriction", "research"})


@dataclass(frozen=True)
class Choice:
    """One choice, as a line of the page."""

    category: str
    at: str
    # self, carer, counter, code or platform
    made_by: str
    display: str
    consent_id: str
    version: int
    # The Consent as it then was; None of a deleted one, and of notices.
    content: Resource | None
    is_newest: bool
    is_final: bool
    ended: str

    @property
    def title(self) -> str:
        """Return what was chosen; marked with N_, translated where it is shown."""
        if self.content is None:
            return CHOICE_TITLES.get((self.category, ""), DELETED_TITLE)
        state = str(self.content.get("status", ""))
        if self.category == "research" and state == "active":
            state = str(provision_of(self.content).get("type", ""))
        return CHOICE_TITLES.get((self.category, state), OTHER_TITLE)

    @property
    def terms(self) -> RestrictionTerms | None:
        """Return the provision in parts; None where there is none."""
        return None if self.content is None else parse_terms(provision_of(self.content))

    @property
    def has_ended(self) -> bool:
        """Return whether it gave something that ended for good."""
        is_over = self.content is not None and self.content.get("status") == "inactive"
        return self.is_final and (bool(self.ended) or is_over)


def parse_choices(answer: Resource) -> list[Choice]:
    """Return the choices of an answer of `$choices`, newest first."""
    values = parse_multi_parts(answer, "choice")
    contents = [
        next((part["resource"] for part in parameter["part"] if "resource" in part), None)
        for parameter in answer.get("parameter", ())
        if parameter["name"] == "choice"
    ]
    return [_build_choice(value, content) for value, content in zip(values, contents, strict=True)]


def plan_undo(choices: Sequence[Choice], choice: Choice, now: datetime) -> Resource | None:
    """Return the Consent to write so that a choice is undone; None where it cannot be.

    Only the newest version of a Consent is undone, and only to what can still hold: a term that is
    over is not begun again.
    """
    content = choice.content
    if content is None or not choice.is_newest or choice.category not in _UNDONE_CATEGORIES:
        return None
    before = next(
        (
            other.content
            for other in choices
            if other.consent_id == choice.consent_id and other.version == choice.version - 1
        ),
        None,
    )
    if before is None:
        # The first version: before it nothing was chosen.
        is_first = choice.version == 1 and content.get("status") == "active"
        return deactivate_consent(content) if is_first else None
    if before.get("status") != "active":
        return deactivate_consent(content) if content.get("status") == "active" else None
    return _begin_again(before, content, now)


def _begin_again(before: Resource, content: Resource, now: datetime) -> Resource | None:
    provision = dict(provision_of(before))
    period: dict[str, Any] = {**provision.get("period", {}), "start": format_instant(now)}
    end = period.get("end")
    if end and date_interval(str(end))[1] <= now.timestamp() * 1000:
        return None
    return {**before, "meta": content["meta"], "provision": {**provision, "period": period}}


def _build_choice(value: MultiPartParameter, content: Resource | None) -> Choice:
    return Choice(
        category=value.category,
        at=value.at,
        made_by=value.made_by,
        display=value.display,
        consent_id=value.consent,
        version=int(value.version or 0),
        content=content,
        is_newest=value.newest == "true",
        is_final=value.final == "true",
        ended=value.ended,
    )
