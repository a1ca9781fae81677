"""What may go into the research copy: joined, not opted out, and nothing closed to everyone.

The rule is stricter than a reader's: exceptions are not considered, so a record that is closed to
everyone but one clinic stays out. There is no SQL of it: the lake asks for each record that
changed.
"""

from __future__ import annotations

from ehr_privacy.consent.model import Decision, Record, Rules
from ehr_privacy.consent.selector_matching import restriction_matches

# The rule tables that decide it, with the memberships of the people whom restrictions name.
RESEARCH_TABLES = ("consent_joining", "consent_research", "consent_restriction")


def decide_research(rules: Rules, record: Record, now_ms: int) -> Decision:
    """Decide whether a record may go into the de-identified copy."""
    if record.type in rules.roles.readers:
        return Decision(False, "role")
    if record.directory:
        return Decision(True, "directory")
    if not record.patients:
        return Decision(False, "no-patient")
    for patient in sorted(record.patients):
        if not rules.in_force("consent_joining", now_ms, patient=patient):
            return Decision(False, "not-joined")
        opted_out = rules.closing_rows("consent_research", now_ms, patient, permit=0)
        if opted_out:
            return Decision(False, "opted-out", str(opted_out[0]["consent"]))
        for row in rules.closing_rows(
            "consent_restriction", now_ms, patient, actor_kind="everyone"
        ):
            if restriction_matches(row, record, rules.memberships):
                return Decision(False, "restricted", str(row["consent"]))
    return Decision(True, "research")
