"""Terminology: code systems, value sets and concept maps, asked in memory or in a store's tables.

In: resources as parsed JSON, or a library that finds them; codes.
Out: whether a code is in a value set, expansions, names, translations. It reads no database itself.
May import: fhirpath (RE2, UCUM), string_folding, definitions, errors.
"""

from __future__ import annotations

from ehr_fhir.terminology.membership import CodeMembership
from ehr_fhir.terminology.value_sets import Membership

__all__ = ["CodeMembership", "Membership"]
