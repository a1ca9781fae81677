"""What may go into the research copy: joined, not opted out, and nothing closed to everyone.

The rule is stricter than a reader's: exceptions are not considered, so a record that is closed to
everyone but one clinic stays out. The predicate is flat, as Spark wants its subqueries.
"""

from __future__ import annotations

from ehr_privacy.consent.model import Decision, Predicate, Record, Rules
from ehr_privacy.consent.roles import load_roles
from ehr_privacy.consent.selector_matching import restriction_matches
from ehr_privacy.consent.sql_expressions import Params, all_of, any_of, exists, negate
from ehr_privacy.consent.sql_rules import Dialect
from ehr_privacy.consent.sql_selectors import in_force_condition, selector_condition

# The rule tables that decide it, with the memberships of the people whom restrictions name.
RESEARCH_TABLES = ("consent_joining", "consent_research", "consent_restriction")


def decide_research(rules: Rules, record: Record, now_ms: int) -> Decision:
    """Decide whether a record may go into the de-identified copy; the reference."""
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


def research_predicate(
    now_ms: int, *, dialect: Dialect = "spark", alias: str = "r", prefix: str = "c"
) -> Predicate:
    """Compile `decide_research` into an SQL predicate over record rows."""
    params = Params(prefix)
    now = params.bind(now_ms)
    of_record = f"p.pk = {alias}.pk"
    # Labels and memberships need a level of their own, which Spark does not resolve: join them.
    joins = (
        "LEFT JOIN record_label l ON l.pk = p.pk AND l.label = x.label"
        " LEFT JOIN consent_membership m ON m.practitioner = x.author_person"
    )
    selector = selector_condition(
        "x", alias, params, unknown=True, label="l.label IS NOT NULL", membership="m"
    )
    about_patients = all_of(
        exists("record_patient p", of_record),
        negate(
            exists(
                "record_patient p LEFT JOIN consent_joining j ON j.patient = p.patient"
                f" AND {in_force_condition('j', now)}",
                of_record,
                "j.patient IS NULL",
            )
        ),
        negate(
            exists(
                "record_patient p JOIN consent_research q ON q.patient = p.patient",
                of_record,
                in_force_condition("q", now),
                "q.permit = 0",
            )
        ),
        negate(
            exists(
                f"record_patient p JOIN consent_restriction x ON x.patient = p.patient {joins}",
                of_record,
                in_force_condition("x", now),
                f"x.actor_kind = {params.bind('everyone')}",
                selector,
            )
        ),
    )
    closed = params.bind_in(f"{alias}.type", load_roles().readers)
    return Predicate(
        all_of(negate(closed), any_of(f"{alias}.directory = 1", about_patients)), params.values
    )
