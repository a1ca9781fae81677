"""Decisions about people: consent, de-identification, disclosure control. Pure.

The public API is what `ehr_privacy.consent`, `ehr_privacy.deid`, `ehr_privacy.disclosure` and
`ehr_privacy.substitutes` export.
"""

from ehr_privacy import consent, deid, disclosure, substitutes

__all__ = ["consent", "deid", "disclosure", "substitutes"]
