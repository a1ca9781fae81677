"""Identifier systems that more than one program of the platform writes or searches by."""

from __future__ import annotations

from ehr_fhir.jurisdiction import JURISDICTION

__all__ = ["MARK_SYSTEM"]

# A CareTeam by which a clinician counts a patient as theirs is identified by this system and
# `practitioner/patient`, the ids of the two.
MARK_SYSTEM = f"{JURISDICTION.base}/identifier/my-patients"
