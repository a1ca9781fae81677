"""Who may see and write what: the rule model, the reference decision, its compilation to SQL.

The semantics are those of docs/explanation/consent.md.

In: resources (for their facts and rule rows), a requester, an interaction and an instant.
Out: a `Decision`, or a `Predicate` for SQLite and PostgreSQL that says the same of every row.
May import: `ehr_fhir`. Nothing here reads a clock or a store.
"""

from ehr_privacy.consent.acts import act_of_deletion, acts_of_creation, acts_of_update
from ehr_privacy.consent.change_rights import Act, is_unlimited, right_to_change
from ehr_privacy.consent.container_patients import move_container, state_patients
from ehr_privacy.consent.decide import decide
from ehr_privacy.consent.domain_rules import load_domains
from ehr_privacy.consent.held_facts import (
    HeldFact,
    apply_held_facts,
    drop_third_party_facts,
    hold_third_party_facts,
)
from ehr_privacy.consent.merged_accounts import extend_to_merged_accounts
from ehr_privacy.consent.model import (
    DOMAINS,
    RECORD_COLUMNS,
    Column,
    Decision,
    Predicate,
    Record,
    Requester,
    RuleRow,
    Rules,
)
from ehr_privacy.consent.record_json import record_from_json, record_to_json
from ehr_privacy.consent.research import decide_research
from ehr_privacy.consent.resource_facts import record_facts
from ehr_privacy.consent.risk_scoring import decide_scoring
from ehr_privacy.consent.roles import PROFESSIONS, RoleMatrix, load_roles
from ehr_privacy.consent.rule_reader import rule_rows, stored_rule_rows
from ehr_privacy.consent.scopes import (
    Scope,
    covers_interaction,
    covers_type,
    has_scope,
    interaction_letter,
    parse_scopes,
)
from ehr_privacy.consent.sql_expressions import BY_ROW
from ehr_privacy.consent.sql_predicate import compile_closable, compile_predicate
from ehr_privacy.consent.tables import SOURCE_TABLES, TABLES
from ehr_privacy.consent.write_rights import deposit_predicate, may_deposit, may_write

__all__ = [
    "BY_ROW",
    "DOMAINS",
    "PROFESSIONS",
    "RECORD_COLUMNS",
    "SOURCE_TABLES",
    "TABLES",
    "Act",
    "Column",
    "Decision",
    "HeldFact",
    "Predicate",
    "Record",
    "Requester",
    "RoleMatrix",
    "RuleRow",
    "Rules",
    "Scope",
    "act_of_deletion",
    "acts_of_creation",
    "acts_of_update",
    "apply_held_facts",
    "compile_closable",
    "compile_predicate",
    "covers_interaction",
    "covers_type",
    "decide",
    "decide_research",
    "decide_scoring",
    "deposit_predicate",
    "drop_third_party_facts",
    "extend_to_merged_accounts",
    "has_scope",
    "hold_third_party_facts",
    "interaction_letter",
    "is_unlimited",
    "load_domains",
    "load_roles",
    "may_deposit",
    "may_write",
    "move_container",
    "parse_scopes",
    "record_facts",
    "record_from_json",
    "record_to_json",
    "right_to_change",
    "rule_rows",
    "state_patients",
    "stored_rule_rows",
]
