"""De-identification of FHIR resources by a closed allow-list (rules/deid.toml)."""

from ehr_privacy.deid.pseudonyms import pseudonym, shift_days
from ehr_privacy.deid.rules import DeidRules, RulesError, load_rules, parse_rules
from ehr_privacy.deid.scrubber import Deidentifier

__all__ = [
    "DeidRules",
    "Deidentifier",
    "RulesError",
    "load_rules",
    "parse_rules",
    "pseudonym",
    "shift_days",
]
