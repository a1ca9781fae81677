"""The rules as an SQL predicate over record rows: the same answer as `decide`, for every row.

The predicate is one boolean expression over the record row `alias`. Everything that depends on the
requester alone (role, profession, scopes) is decided here and folded away; what depends on a
patient is looked up by patient. Values are always bound, never written into the text; the words of
the rules themselves (domains, types, labels) stand in it.

A record is closed by any of several lines of the table, so the lines stand side by side: "there is
no patient of the record whom this line closes". That keeps the text shallow (SQLite's parser has a
limit) and each line readable. Spark resolves a subquery's outer names one level up only, so for it
a subquery that needs the record joins it anew, under the name of the argument `records`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ehr_privacy.consent.absent_facts import (
    PEOPLE,
    types_without_author,
    types_without_date,
)
from ehr_privacy.consent.decide import MINOR_LABELS, for_treatment
from ehr_privacy.consent.domain_rules import load_domains
from ehr_privacy.consent.model import DOMAINS, UNKNOWN_PERSON, Predicate, Requester
from ehr_privacy.consent.roles import RoleMatrix, load_roles
from ehr_privacy.consent.scopes import Limit, Scope, interaction_letter
from ehr_privacy.consent.sql_expressions import FALSE, TRUE, Params, all_of, any_of, exists, negate
from ehr_privacy.consent.tables import SELECTOR_COLUMNS

Dialect = Literal["sqlite", "postgresql", "spark"]


def compile_predicate(
    requester: Requester,
    interaction: str,
    now_ms: int,
    *,
    dialect: Dialect = "sqlite",
    alias: str = "r",
    prefix: str = "c",
    roles: RoleMatrix | None = None,
    records: str = "record",
    lifted: frozenset[str] = frozenset(),
) -> Predicate:
    """Compile what a requester may read or find at an instant into an SQL predicate.

    `lifted` names lines (hidden, step-up, held) that are taken as passed: what a marker or a stub
    tells of is what would be visible but for them. Never for an answer that holds records.
    """
    if roles is None:
        sql, values = _of_the_matrix(
            requester, interaction, dialect, alias, prefix, records, lifted
        )
    else:
        sql, values = _compiled(
            requester, interaction, dialect, alias, prefix, records, roles, lifted
        )
    return Predicate(sql, {**values, f"{prefix}_now": now_ms})


# A token comes with many requests, and the text depends on nothing but who asks.
@lru_cache(maxsize=4096)
def _of_the_matrix(
    requester: Requester,
    interaction: str,
    dialect: Dialect,
    alias: str,
    prefix: str,
    records: str,
    lifted: frozenset[str],
) -> tuple[str, Mapping[str, str | int]]:
    return _compiled(requester, interaction, dialect, alias, prefix, records, load_roles(), lifted)


def _compiled(
    requester: Requester,
    interaction: str,
    dialect: Dialect,
    alias: str,
    prefix: str,
    records: str,
    roles: RoleMatrix,
    lifted: frozenset[str],
) -> tuple[str, Mapping[str, str | int]]:
    params = Params(prefix)
    compiler = _Compiler(
        requester, interaction, f":{prefix}_now", dialect, alias, records, roles, params, lifted
    )
    return compiler.visible(), params.values


def in_force_condition(row: str, now: str) -> str:
    """Say in SQL whether a row's term contains now."""
    # The parentheses first: SQLite's parser keeps all that stands before them.
    return all_of(f"({row}.until IS NULL OR {now} < {row}.until)", f"{row}.since <= {now}")


def _lists(params: Params, listing: str, name: str) -> str:
    """Return SQL for: a text of `join_with_bars` contains a name; false, not null, without a text.

    By REPLACE, which every engine has and which tells small letters from capitals, as LIKE may not.
    """
    bar, nothing = params.word("|"), params.word("")
    found = f"REPLACE({listing}, {bar} || {name} || {bar}, {nothing}) <> {listing}"
    return all_of(f"{listing} IS NOT NULL", found)


def selector_condition(
    rule: str,
    record: str,
    params: Params,
    *,
    unknown: bool,
    label: str | None = None,
    membership: str | None = None,
) -> str:
    """Say in SQL whether a rule's selector matches a record.

    `unknown` is the answer for what the record does not say, or what others say of it: a
    restriction holds in doubt (True), an exception does not (False). `label` replaces the look-up
    of the rule's label. `membership` names rows of consent_membership that the query has joined, of
    the person whom the rule names, or nothing.
    """
    gathered = load_domains().gathering
    attribute = {"record_type": "type", "record_id": "id"}
    equal = [
        f"({rule}.{name} IS NULL OR {rule}.{name} = {record}.{attribute.get(name, name)})"
        for name in ("author", "record_type", "record_id")
    ]
    in_domain, inner = f"{rule}.domain = {record}.domain", f"{record}.inner_domains"
    by, added_by = f"{record}.author_people", f"{record}.added_people"
    by_person = _lists(params, by, f"{rule}.author_person")
    in_episode = _lists(params, f"{record}.episodes", f"{rule}.episode")
    labelled = [f"l.pk = {record}.pk", f"l.label = {rule}.label"]
    if unknown:
        in_domain = any_of(in_domain, _lists(params, inner, f"{rule}.domain"))
        # Nobody is named as author, nobody but by third parties, or somebody who is not known.
        unnamed = any_of(
            f"{by} IS NULL",
            all_of(f"{added_by} IS NOT NULL", f"{by} = {added_by}"),
            _lists(params, by, params.word(UNKNOWN_PERSON)),
        )
        in_doubt = _in_doubt(record, types_without_author(), params)
        by_person = any_of(
            by_person, all_of(unnamed, in_doubt, _membership_condition(rule, record, membership))
        )
    else:
        in_domain = all_of(in_domain, f"{inner} IS NULL")
        added = _lists(params, added_by, f"{rule}.author_person")
        by_person = all_of(by_person, negate(added))
        added = _lists(params, f"{record}.added_episodes", f"{rule}.episode")
        in_episode = all_of(in_episode, negate(added))
        labelled.append("l.added = 0")
    selected = [
        any_of(f"{rule}.domain IS NULL", in_domain),
        any_of(f"{rule}.author_person IS NULL", by_person),
        any_of(f"{rule}.episode IS NULL", in_episode),
        any_of(f"{rule}.label IS NULL", label or exists("record_label l", *labelled)),
    ]
    period = _period_condition(rule, record, params, unknown=unknown)
    matches = all_of(*equal, *selected, period)
    if unknown:
        # Who somebody is, no rule about care that was given hides.
        of_care = ("author", "author_person", "episode", "period_from", "period_to")
        tells_no_care = all_of(*(f"{rule}.{name} IS NULL" for name in of_care))
        matches = all_of(matches, any_of(_in_doubt(record, PEOPLE, params), tells_no_care))
        return any_of(params.bind_in(f"{record}.type", gathered), matches)
    everything = all_of(*(f"{rule}.{column.name} IS NULL" for column in SELECTOR_COLUMNS))
    plain = params.bind_in(f"{record}.type", gathered, negate=True)
    return all_of(matches, any_of(plain, everything))


def _in_doubt(record: str, types: Iterable[str], params: Params) -> str:
    """Say in SQL that a record is of none of the types, or holds something of another."""
    plain = params.bind_in(f"{record}.type", types, negate=True)
    return any_of(plain, f"{record}.inner_domains IS NOT NULL")


def _membership_condition(rule: str, record: str, joined: str | None) -> str:
    """Say in SQL that the person of a rule belonged to the record's author organisation then."""
    row = joined or "m"
    at = f"{record}.clinical_date"
    then = any_of(
        f"{at} IS NULL",
        f"{record}.added_from IS NOT NULL",
        all_of(f"{row}.since <= {at}", f"({row}.until IS NULL OR {at} < {row}.until)"),
    )
    of_author = (f"{record}.author IS NOT NULL", f"{row}.organization = {record}.author", then)
    if joined:
        return all_of(f"{row}.practitioner IS NOT NULL", *of_author)
    person = f"m.practitioner = {rule}.author_person"
    return exists("consent_membership m", person, *of_author)


def _period_condition(rule: str, record: str, params: Params, *, unknown: bool) -> str:
    """Say in SQL whether the record's clinical dates meet the rule's period.

    For a restriction its own date or one that third parties said, for an exception both.
    """
    at, first, last = (f"{record}.{name}" for name in ("clinical_date", "added_from", "added_to"))
    start, end = f"{rule}.period_from", f"{rule}.period_to"
    if unknown:
        undated = all_of(f"{at} IS NULL", _in_doubt(record, types_without_date(), params))
        own = all_of(
            any_of(f"{start} IS NULL", undated, f"({at} IS NOT NULL AND {start} <= {at})"),
            any_of(f"{end} IS NULL", undated, f"({at} IS NOT NULL AND {at} < {end})"),
        )
        added = all_of(
            f"{first} IS NOT NULL",
            any_of(f"{start} IS NULL", f"{start} <= {last}"),
            any_of(f"{end} IS NULL", f"{first} < {end}"),
        )
        return any_of(own, added)
    return all_of(
        any_of(
            f"{start} IS NULL",
            all_of(
                f"{at} IS NOT NULL", f"{start} <= {at}", f"({first} IS NULL OR {start} <= {first})"
            ),
        ),
        any_of(
            f"{end} IS NULL",
            all_of(f"{at} IS NOT NULL", f"{at} < {end}", f"({last} IS NULL OR {last} < {end})"),
        ),
    )


@dataclass(frozen=True)
class _Compiler:
    requester: Requester
    interaction: str
    now: str
    dialect: Dialect
    alias: str
    records: str
    roles: RoleMatrix
    params: Params
    lifted: frozenset[str] = frozenset()

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
        if self.dialect == "spark":
            return FALSE
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
            self.is_clinical_consent(self.alias) if "Consent" in closed else FALSE,
        )

    def is_clinical_consent(self, record: str) -> str:
        """Say that the record is a Consent about care, which no reader is named for."""
        return f"{record}.clinical_consent = 1"

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
            negate(self.is_clinical_consent(self.alias)),
        )
        if role == "steward":
            return any_of(named, negate(self.has_patient()))
        return named if role == "auditor" else FALSE

    def has_patient(self) -> str:
        return exists("record_patient hp", f"hp.pk = {self.alias}.pk")

    # Lines 2 to 10.

    def treatment(self) -> str:
        if not for_treatment(self.requester):
            return FALSE
        cells: dict[str, set[str]] = {"open": set(), "restricted": set(), "none": set()}
        for domain in DOMAINS:
            cell = self.roles.cell(self.requester.role, self.requester.profession, domain)
            cells[cell].add(domain)
        if not cells["open"] | cells["restricted"]:
            return FALSE
        return all_of(
            self.params.bind_in(f"{self.alias}.domain", cells["none"], negate=True),
            negate(self.inner(self.alias, cells["none"])),
            any_of(self.is_author(), self.shared(cells["restricted"])),
        )

    def inner(self, record: str, domains: set[str]) -> str:
        """Say that the record holds something of one of the domains."""
        column = f"{record}.inner_domains"
        return any_of(
            *(_lists(self.params, column, self.params.word(domain)) for domain in sorted(domains))
        )

    def shared(self, restricted: set[str]) -> str:
        """No patient of the record closes it: sealed, not joined, not shared, hidden, step-up."""
        if self.requester.organization is None:
            return FALSE
        ordinary = negate(self.emergency())
        no_grant = negate(self.grant(self.record_name()))
        stepped = any_of(
            self.params.bind_in(f"{self.record_name()}.domain", restricted),
            self.inner(self.record_name(), restricted),
        )
        unjoined = negate(exists("consent_joining j", self.term("j")))
        unshared = all_of(*map(negate, self.sharings("rp.patient")))
        unasked = FALSE if "step-up" in self.lifted else all_of(stepped, no_grant)
        unlifted = FALSE if "hidden" in self.lifted else all_of(ordinary, no_grant)
        sealed = "x.sealed = 1"
        if self.dialect == "spark":
            # One subquery for each line: it does not resolve them inside an OR.
            patients = [
                self.no_patient(condition, ordinary) for condition in (unjoined, unshared, unasked)
            ]
            restrictions = [self.no_restriction(condition) for condition in (sealed, unlifted)]
        else:
            # What is asked most often first, and each table looked up once.
            # (An OR over a conjunction would be a level more than SQLite's parser has room for.)
            patients = [self.no_patient(any_of(unjoined, unshared, unasked), ordinary)]
            restrictions = [
                self.no_restriction(any_of(sealed, ordinary), any_of(sealed, no_grant))
                if unlifted != FALSE
                else self.no_restriction(sealed)
            ]
        return all_of(self.has_patient(), *patients, *restrictions)

    def record_name(self) -> str:
        """The record as a subquery of the second level may call it."""
        return "rr" if self.dialect == "spark" else self.alias

    def of_record(self) -> str:
        again = f" JOIN {self.records} rr ON rr.pk = rp.pk" if self.dialect == "spark" else ""
        return f"record_patient rp{again}"

    def no_patient(self, *conditions: str) -> str:
        return negate(exists(self.of_record(), f"rp.pk = {self.alias}.pk", *conditions))

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

    def grant(self, record: str) -> str:
        """The requester's grants cover every domain of the record, together or one for all."""
        everything, inner = self.params.word("*"), f"{record}.inner_domains"
        own = f"gr.domain = {record}.domain"
        of_requester = (self.term("gr"), self.mine("gr"))
        under_sharing = any_of(*self.sharings("gr.patient", "gr.since"))
        if self.dialect == "spark":
            # It counts in no correlated subquery; the lake takes over no grants.
            alone = any_of(f"gr.domain = {everything}", all_of(own, f"{inner} IS NULL"))
            return exists("consent_grant gr", *of_requester, alone, under_sharing)
        of_record = any_of(
            f"gr.domain = {everything}", own, _lists(self.params, inner, "gr.domain")
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
        record, lifted, label = self.record_name(), "consent_exception ex", None
        if self.dialect == "spark":
            lifted += " LEFT JOIN record_label el ON el.label = ex.label AND el.added = 0"
            label = f"el.pk = {record}.pk"
        exception = exists(
            lifted,
            "ex.consent = x.consent AND ex.rule = x.rule",
            self.actor("ex"),
            selector_condition("ex", record, self.params, unknown=False, label=label),
        )
        closing = exists(
            f"{self.of_record()} JOIN consent_restriction x ON x.patient = rp.patient",
            f"rp.pk = {self.alias}.pk",
            in_force_condition("x", self.now),
            self.actor("x"),
            selector_condition("x", record, self.params, unknown=True),
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
                f"{self.record_name()}.type = {self.params.word('Consent')}",
                negate(self.is_clinical_consent(self.record_name())),
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
            f"{self.of_record()} JOIN consent_hold hd ON hd.patient = rp.patient",
            f"rp.pk = {self.alias}.pk",
            in_force_condition("hd", self.now),
            f"hd.record_type = {self.record_name()}.type",
            f"hd.record_id = {self.record_name()}.id",
        )
        return negate(holding)
