"""De-identification of FHIR resources by a closed allow-list (rules/deid.toml).

In: the rules, a secret key, and resources as parsed JSON.
Out: resources with pseudonyms, shifted dates and listed elements alone, or None to drop one.
May import: `ehr_fhir`. The key is the caller's to keep: without it no pseudonym leads back.
"""

from ehr_privacy.deid.dates import DATE_FORMS, DateForm
from ehr_privacy.deid.events import AGE_AT_EVENT
from ehr_privacy.deid.person import People, Person, find_patient, find_survivor
from ehr_privacy.deid.plain_scrubber import ElementFate, Explanation, explain_resource
from ehr_privacy.deid.pseudonyms import (
    SHIFT_WEEKS,
    count_shift_weeks,
    derive_date_key,
    pseudonym,
    shift_days,
)
from ehr_privacy.deid.rare_codes import Coding, generalize_rare_codes, list_broader_codes
from ehr_privacy.deid.rules import DeidRules, RulesError, load_rules, parse_rules
from ehr_privacy.deid.scrubber import Deidentifier, find_episode

__all__ = [
    "AGE_AT_EVENT",
    "DATE_FORMS",
    "SHIFT_WEEKS",
    "Coding",
    "DateForm",
    "DeidRules",
    "Deidentifier",
    "ElementFate",
    "Explanation",
    "People",
    "Person",
    "RulesError",
    "count_shift_weeks",
    "derive_date_key",
    "explain_resource",
    "find_episode",
    "find_patient",
    "find_survivor",
    "generalize_rare_codes",
    "list_broader_codes",
    "load_rules",
    "parse_rules",
    "pseudonym",
    "shift_days",
]
