"""Whom a model may score for their care: whoever has joined.

A score is care and no research, so an opt-out of research does not stop it; who may read the score
is decided where it is read, by the restrictions of the patient. The rule is about the patient and
not about one record: there is no SQL of it.
"""

from __future__ import annotations

from ehr_privacy.consent.model import Decision, Rules

__all__ = ["decide_scoring"]


def decide_scoring(rules: Rules, patient: str, now_ms: int) -> Decision:
    """Decide whether a patient's records may be read for a score, and one be written about them.

    >>> decide_scoring(Rules(), "p1", 0).reason
    'not-joined'
    """
    if not rules.in_force("consent_joining", now_ms, patient=patient):
        return Decision(False, "not-joined")
    return Decision(True, "joined")
