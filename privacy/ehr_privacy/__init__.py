"""Decisions about people: consent, de-identification, disclosure control. Pure.

The public API is what `ehr_privacy.consent`, `ehr_privacy.deid` and `ehr_privacy.disclosure`
export.
"""

from ehr_privacy import consent, deid, disclosure

__all__ = ["consent", "deid", "disclosure"]
