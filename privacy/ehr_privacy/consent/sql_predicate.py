"""The rules as an SQL predicate over record rows: the same answer as `decide`, for every row.

The predicate is one boolean expression over the record row `alias`. Everything that depends on the
requester alone (role, profession, scopes) is decided here and folded away; what depends on a
patient is looked up by patient. Values are always bound, never written into the text; the words of
the rules themselves (domains, types, labels) stand in it.

A record is closed by any of several lines of the table, so the lines stand side by side: "there is
no patient of the record whom this line closes". That keeps the text shallow (SQLite's parser has a
limit) and each line readable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ehr_privacy.consent.decide import MINOR_LABELS, for_treatment
from ehr_privacy.consent.model import DOMAINS, Predicate, Requester
from ehr_privacy.consent.roles import RoleMatrix, load_roles
from ehr_privacy.consent.scopes import Limit, Scope, interaction_letter
from ehr_privacy.consent.sql_expressions import FALSE, TRUE, Params, all_of, any_of, exists, negate
from ehr_privacy.consent.sql_rules import RuleConditions
from ehr_privacy.consent.sql_selectors import in_force_condition


def compile_predicate(
    requester: Requester,
    interaction: str,
    now_ms: int,
    *,
    alias: str = "r",
    prefix: str = "c",
    roles: RoleMatrix | None = None,
    lifted: frozenset[str] = frozenset(),
) -> Predicate:
    """Compile what a requester may read or find at an instant into an SQL predicate.

    `lifted` names lines (hidden, step-up, held) that are taken as passed: what a marker or a stub
    tells of is what would be visible but for them. Never for an answer that holds records.
    """
    if roles is None:
        sql, values = _of_the_matrix(requester, interaction, alias, prefix, lifted)
    else:
        sql, values = _compiled(requester, interaction, alias, prefix, roles, lifted)
    return Predicate(sql, {**values, f"{prefix}_now": now_ms})


def compile_closable(requester: Requester, *, alias: str = "r", prefix: str = "c") -> Predicate:
    """Compile which records a step-up or the lifting of a hidden rule could open at all.

    Necessary, not sufficient, and cheap: a domain that asks for a step-up, or a patient with any
    restriction. All other records look the same with those lines (`lifted`) and without.
    """
    sql, values = _closable(requester, alias, prefix)
    return Predicate(sql, dict(values))


@lru_cache(maxsize=4096)
def _closable(requester: Requester, alias: str, prefix: str) -> tuple[str, Mapping[str, str | int]]:
    params = Params(prefix)
    compiler = _Compiler(
        requester=requester,
        now=f":{prefix}_now",
        alias=alias,
        params=params,
        interaction="search",
        roles=load_roles(),
        lifted=frozenset(),
    )
    return compiler.closable(), params.values


# A token comes with many requests, and the text depends on nothing but who asks.
@lru_cache(maxsize=4096)
def _of_the_matrix(
    requester: Requester,
    interaction: str,
    alias: str,
    prefix: str,
    lifted: frozenset[str],
) -> tuple[str, Mapping[str, str | int]]:
    return _compiled(requester, interaction, alias, prefix, load_roles(), lifted)


def _compiled(
    requester: Requester,
    interaction: str,
    alias: str,
    prefix: str,
    roles: RoleMatrix,
    lifted: frozenset[str],
) -> tuple[str, Mapping[str, str | int]]:
    params = Params(prefix)
    compiler = _Compiler(
        requester=requester,
        now=f":{prefix}_now",
        alias=alias,
        params=params,
        interaction=interaction,
        roles=roles,
        lifted=lifted,
    )
    return compiler.visible(), params.values


@dataclass(frozen=True)
class _Compiler(RuleConditions):
    interaction: str
    roles: RoleMatrix
    lifted: frozenset[str]

    def visible(self) -> str:
        return all_of(
            self.in_scope(),
            self.readable_type(),
            any_of(f"{self.alias}.directory = 0", self.directory()),
            any_of(f"{self.alias}.directory = 1", self.record()),
        )

    # Line 1, and the types with readers of their own.

    def in_scope(self) -> str:
        letter = interaction_letter(self.interaction)
        scopes = [scope for scope in self.requester.scopes if letter in scope.rights]
        wide = self.typed([scope for scope in scopes if scope.context != "patient"])
        own = self.typed([scope for scope in scopes if scope.context == "patient"])
        compartment = any_of(f"{self.alias}.directory = 1", self.of_patient())
        return any_of(wide, all_of(own, compartment))

    def typed(self, scopes: Sequence[Scope]) -> str:
        types = {scope.type for scope in scopes if not scope.limits}
        whole = TRUE if "*" in types else self.params.bind_in(f"{self.alias}.type", types)
        return any_of(whole, *(self.limited(scope) for scope in scopes if scope.limits))

    def limited(self, scope: Scope) -> str:
        """The record is of the scope's type and has its values in the index.

        Only current versions are in the index: older ones are not within a limit.
        """
        of_type = f"{self.alias}.type = {self.params.word(scope.type)}"
        return all_of(of_type, *(self.within(scope.type, limit) for limit in scope.limits))

    def within(self, resource_type: str, limit: Limit) -> str:
        number = (
            "(SELECT lp.param FROM search_parameter lp"  # noqa: S608 - bound values alone
            f" WHERE lp.type = {self.params.word(resource_type)}"
            f" AND lp.code = {self.params.word(limit.parameter)})"
        )
        values = [
            all_of(
                TRUE if system is None else f"lt.system = {self.params.bind(system)}",
                f"lt.code = {self.params.bind(code)}",
            )
            for system, code in limit.values
        ]
        found = (f"lt.pk = {self.alias}.pk", f"lt.param = {number}", any_of(*values))
        return exists("idx_token lt", *found)

    def of_patient(self) -> str:
        """The record is (also) about the token's own patient."""
        if self.requester.patient is None:
            return FALSE
        return exists(
            "record_patient own",
            f"own.pk = {self.alias}.pk",
            f"own.patient = {self.params.bind(self.requester.patient)}",
        )

    def readable_type(self) -> str:
        closed = {t for t, roles in self.roles.readers.items() if self.requester.role not in roles}
        return any_of(
            self.params.bind_in(f"{self.alias}.type", closed, negate=True),
            self.is_clinical_consent() if "Consent" in closed else FALSE,
        )

    def directory(self) -> str:
        readers = self.roles.directory_readers
        closed = {t for t, roles in readers.items() if self.requester.role not in roles}
        authors = {t for t in closed if "author" in readers[t]}
        return any_of(
            self.params.bind_in(f"{self.alias}.type", closed, negate=True),
            all_of(self.params.bind_in(f"{self.alias}.type", authors), self.is_author()),
        )

    def is_author(self) -> str:
        organization = self.requester.organization
        if self.requester.role not in ("clinician", "system") or organization is None:
            return FALSE
        # Not null even where the author is: callers may negate the whole predicate.
        author = f"{self.alias}.author"
        return all_of(f"{author} IS NOT NULL", f"{author} = {self.params.bind(organization)}")

    # Records about patients, by role.

    def record(self) -> str:
        role = self.requester.role
        if role in ("clinician", "system"):
            return self.treatment()
        if role in ("patient", "carer"):
            return self.own() if role == "patient" else self.carer()
        named = all_of(
            self.params.bind_in(f"{self.alias}.type", self.roles.readers),
            negate(self.is_clinical_consent()),
        )
        if role == "steward":
            return any_of(named, negate(self.has_patient()))
        return named if role == "auditor" else FALSE

    # Lines 2 to 10.

    def treatment(self) -> str:
        if not for_treatment(self.requester):
            return FALSE
        cells = self.cells()
        if not cells["open"] | cells["restricted"]:
            return FALSE
        return all_of(
            self.params.bind_in(f"{self.alias}.domain", cells["none"], negate=True),
            negate(self.inner(cells["none"])),
            any_of(self.is_author(), self.shared(cells["restricted"])),
        )

    def cells(self) -> dict[str, set[str]]:
        """Return the data domains by what the role matrix says of them: open, restricted, none."""
        cells: dict[str, set[str]] = {"open": set(), "restricted": set(), "none": set()}
        for domain in DOMAINS:
            cell = self.roles.cell(self.requester.role, self.requester.profession, domain)
            cells[cell].add(domain)
        return cells

    def closable(self) -> str:
        """The record asks for a step-up, or a patient of it has a restriction."""
        restricted = self.cells()["restricted"]
        restriction = exists(
            "record_patient rp JOIN consent_restriction x ON x.patient = rp.patient",
            f"rp.pk = {self.alias}.pk",
        )
        return any_of(
            self.params.bind_in(f"{self.alias}.domain", restricted),
            self.inner(restricted),
            restriction,
        )

    def shared(self, restricted: set[str]) -> str:
        """No patient of the record closes it: sealed, not joined, not shared, hidden, step-up."""
        if self.requester.organization is None:
            return FALSE
        ordinary = negate(self.emergency())
        no_grant = negate(self.grant())
        stepped = any_of(
            self.params.bind_in(f"{self.alias}.domain", restricted),
            self.inner(restricted),
        )
        unjoined = negate(exists("consent_joining j", self.term("j")))
        unshared = all_of(*map(negate, self.sharings("rp.patient")))
        unasked = FALSE if "step-up" in self.lifted else all_of(stepped, no_grant)
        sealed = "x.sealed = 1"
        # What is asked most often first, and each table looked up once.
        # (An OR over a conjunction would be a level more than SQLite's parser has room for.)
        by_patient = self.no_patient(any_of(unjoined, unshared, unasked), ordinary)
        by_rule = (
            self.no_restriction(sealed)
            if "hidden" in self.lifted
            else self.no_restriction(any_of(sealed, ordinary), any_of(sealed, no_grant))
        )
        return all_of(self.has_patient(), by_patient, by_rule)

    # Patients and carers.

    def own(self) -> str:
        patient = self.requester.patient
        if patient is None:
            return FALSE
        others = f"rp.patient <> {self.params.bind(patient)}"
        return all_of(self.of_patient(), *self.powers(others), self.released())

    def carer(self) -> str:
        return all_of(self.has_patient(), *self.powers(TRUE), self.released())

    def powers(self, which: str) -> tuple[str, str, str]:
        """No patient lacks the carer's power, limits them, or is of an age that does."""
        view = any_of(
            "ca.can_view = 1",
            all_of(
                "ca.can_manage = 1",
                f"{self.alias}.type = {self.params.word('Consent')}",
                negate(self.is_clinical_consent()),
            ),
        )
        mine = f"ca.person = {self.params.bind(self.requester.person)}"
        power = exists("consent_carer ca", self.term("ca"), mine, view)
        minor = exists("consent_minor mi", self.term("mi"))
        private = exists(
            "record_label ml",
            "ml.pk = rp.pk",
            self.params.bind_in("ml.label", MINOR_LABELS),
        )
        return (
            self.no_patient(which, negate(power)),
            self.no_restriction(which),
            self.no_patient(which, private, minor),
        )

    def released(self) -> str:
        if "held" in self.lifted:
            return TRUE
        holding = exists(
            "record_patient rp JOIN consent_hold hd ON hd.patient = rp.patient",
            f"rp.pk = {self.alias}.pk",
            in_force_condition("hd", self.now),
            f"hd.record_type = {self.alias}.type",
            f"hd.record_id = {self.alias}.id",
        )
        return negate(holding)
