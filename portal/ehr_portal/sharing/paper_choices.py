"""Choices that a patient made on paper: the Consents that a steward writes for them.

Pure: Consents in, Consents to write out. The name of the form stands in each that is written
(Consent.sourceAttachment), so that the paper can be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.providers import Provider
from ehr_portal.sharing.research import allow_research, refuse_research
from ehr_portal.sharing.restrictions import RestrictionChoice, build_restriction
from ehr_portal.sharing.switches import start_sharing, stop_sharing

__all__ = ["CHOICE_TITLES", "PaperChoice", "write_choice"]

CHOICE_TITLES = {
    "share": N_("Share the record with a hospital or clinic"),
    "stop": N_("Stop sharing with a hospital or clinic"),
    "close": N_("Close a kind of records, to everyone or to one hospital or clinic"),
    "research-out": N_("Take part in no research"),
    "research-in": N_("Take part in research again"),
}


@dataclass(frozen=True)
class PaperChoice:
    """What the form says."""

    # A code of CHOICE_TITLES.
    choice: str
    # The name of the form and its date, as it is filed.
    paper: str
    provider: Provider | None = None
    domain: str = ""

    @property
    def lacks_provider(self) -> bool:
        """Return whether it needs a hospital or clinic and has none."""
        return self.choice in ("share", "stop") and self.provider is None


def write_choice(
    choice: PaperChoice, consents: Sequence[Resource], patient: str, now: datetime
) -> list[Resource]:
    """Return the Consents to write; none where the choice holds already."""
    writes = _consents_to_write(choice, consents, patient, now)
    return [{**consent, "sourceAttachment": {"title": choice.paper}} for consent in writes]


def _consents_to_write(
    choice: PaperChoice, consents: Sequence[Resource], patient: str, now: datetime
) -> list[Resource]:
    if choice.choice == "share" and choice.provider:
        return start_sharing(choice.provider, consents, patient, now)
    if choice.choice == "stop" and choice.provider:
        return stop_sharing(choice.provider, consents, patient, now)
    if choice.choice == "close":
        recipient = f"organization:{choice.provider.id}" if choice.provider else "everyone"
        restriction = RestrictionChoice(domain=choice.domain, recipient=recipient)
        return [build_restriction(patient, now, restriction)]
    if choice.choice == "research-in":
        return allow_research(consents, now)
    return refuse_research(consents, patient, now)
