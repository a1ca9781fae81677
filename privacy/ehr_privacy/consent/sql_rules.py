"""What the rules of a record's patients say, as SQL: sharing, grants, emergencies, restrictions.

The lines of the table are put together of these conditions (`sql_predicate`).
"""

from __future__ import annotations

from dataclasses import dataclass

from ehr_privacy.consent.model import Requester
from ehr_privacy.consent.sql_expressions import FALSE, TRUE, Params, all_of, any_of, exists, negate
from ehr_privacy.consent.sql_selectors import contains_name, in_force_condition, selector_condition

__all__ = ["RuleConditions"]


@dataclass(frozen=True)
class RuleConditions:
    """Conditions on the rules of a record's patients, for one requester.

    `alias` is the record, `now` the parameter of the instant, `params` collects the values.
    """

    requester: Requester
    now: str
    alias: str
    params: Params

    def is_clinical_consent(self) -> str:
        """Say that the record is a Consent about care, which no reader is named for."""
        return f"{self.alias}.clinical_consent = 1"

    def has_patient(self) -> str:
        return exists("record_patient hp", f"hp.pk = {self.alias}.pk")

    def inner(self, domains: set[str]) -> str:
        """Say that the record holds something of one of the domains."""
        column = f"{self.alias}.inner_domains"
        return any_of(
            *(
                contains_name(self.params, column, self.params.word(domain))
                for domain in sorted(domains)
            )
        )

    def no_patient(self, *conditions: str) -> str:
        return negate(exists("record_patient rp", f"rp.pk = {self.alias}.pk", *conditions))

    def term(self, row: str, patient: str = "rp.patient") -> str:
        return all_of(in_force_condition(row, self.now), f"{row}.patient = {patient}")

    def mine(self, row: str) -> str:
        assert self.requester.organization is not None  # noqa: S101 - `shared` asked before
        return all_of(
            f"{row}.person = {self.params.bind(self.requester.person)}",
            f"{row}.organization = {self.params.bind(self.requester.organization)}",
        )

    def emergency(self) -> str:
        if self.requester.emergency_suspended:
            return FALSE
        return exists("consent_emergency em", self.term("em"), self.mine("em"))

    def sharings(self, patient: str, since: str = "") -> tuple[str, str]:
        """Explicit and deemed sharing with the organisation, begun no later than `since`."""
        assert self.requester.organization is not None  # noqa: S101 - `shared` asked before
        name = self.params.bind(self.requester.organization)
        explicit = exists(
            "consent_sharing sh",
            self.term("sh", patient),
            f"sh.organization IN ({name}, {self.params.word('*')})",
            f"sh.since <= {since}" if since else TRUE,
        )
        deemed = exists(
            "consent_deemed de",
            in_force_condition("de", self.now),
            f"de.organization = {name}",
            f"de.since <= {since}" if since else TRUE,
        )
        return explicit, deemed

    def grant(self) -> str:
        """The requester's grants cover every domain of the record, together or one for all."""
        everything, inner = self.params.word("*"), f"{self.alias}.inner_domains"
        own = f"gr.domain = {self.alias}.domain"
        of_requester = (self.term("gr"), self.mine("gr"))
        under_sharing = any_of(*self.sharings("gr.patient", "gr.since"))
        of_record = any_of(
            f"gr.domain = {everything}", own, contains_name(self.params, inner, "gr.domain")
        )
        bar, nothing = self.params.word("|"), self.params.word("")
        # `|a|b|` has as many bars as there are domains with the record's own.
        count = f"COALESCE(LENGTH({inner}) - LENGTH(REPLACE({inner}, {bar}, {nothing})), 1)"
        return exists(
            "consent_grant gr", *of_requester, of_record, under_sharing,
            grouped=(
                "GROUP BY gr.patient"
                f" HAVING COUNT(CASE WHEN gr.domain = {everything} THEN 1 END) > 0"
                f" OR COUNT(DISTINCT gr.domain) = {count}"
            ),
        )  # fmt: skip

    def no_restriction(self, *conditions: str) -> str:
        """No restriction of any patient binds, none of its exceptions lifting it."""
        exception = exists(
            "consent_exception ex",
            "ex.consent = x.consent AND ex.rule = x.rule",
            self.actor("ex"),
            selector_condition("ex", self.alias, self.params, unknown=False),
        )
        closing = exists(
            "record_patient rp JOIN consent_restriction x ON x.patient = rp.patient",
            f"rp.pk = {self.alias}.pk",
            in_force_condition("x", self.now),
            self.actor("x"),
            selector_condition("x", self.alias, self.params, unknown=True),
            negate(exception),
            *conditions,
        )
        return negate(closing)

    def actor(self, rule: str) -> str:
        person = self.params.bind(self.requester.person)
        kinds = {"person": f"= {person}"}
        if self.requester.role in ("carer", "patient"):
            carer = f"({rule}.actor_value IS NULL OR {rule}.actor_value = {person})"
            special = [all_of(f"{rule}.actor_kind = {self.params.word('carer')}", carer)]
        else:
            special = []
            if self.requester.organization is not None:
                kinds["organization"] = f"= {self.params.bind(self.requester.organization)}"
            if self.requester.profession is not None:
                kinds["profession"] = f"= {self.params.bind(self.requester.profession)}"
        named = [
            all_of(f"{rule}.actor_kind = {self.params.word(kind)}", f"{rule}.actor_value {equal}")
            for kind, equal in kinds.items()
        ]
        return any_of(f"{rule}.actor_kind = {self.params.word('everyone')}", *named, *special)
