"""The rules as an SQL predicate over record rows: the same answer as `decide`, for every row.

The predicate is one boolean expression over the record row `alias`. Everything that depends on the
requester alone (role, profession, scopes) is decided here and folded away; what depends on a
patient is looked up by patient. Values are always bound, never written into the text.

Spark resolves a subquery's outer names one level up only, so for it each subquery that needs the
record joins it anew, under the name of the argument `records`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ehr_privacy.consent.decide import MINOR_LABELS, for_treatment
from ehr_privacy.consent.expressions import FALSE, TRUE, Params, all_of, any_of, exists, negated
from ehr_privacy.consent.facts import load_domains
from ehr_privacy.consent.model import DOMAINS, Predicate, Requester
from ehr_privacy.consent.roles import RoleMatrix, load_roles
from ehr_privacy.consent.scopes import interaction_letter
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
) -> Predicate:
    """Compile what a requester may read or find at an instant into an SQL predicate."""
    params = Params(prefix)
    compiler = _Compiler(
        requester, interaction, now_ms, dialect, alias, records, roles or load_roles(), params
    )
    return Predicate(compiler.visible(), params.values)


@dataclass(frozen=True)
class RecordSource:
    """How a subquery reaches the record: by its outer name, or by joining it again."""

    alias: str
    records: str
    nested: bool

    def link(self, inner: str, pk: str) -> tuple[str, str]:
        """Return (extra FROM text, name of the record) for a subquery that has its key."""
        if self.nested:
            return "", self.alias
        return f" JOIN {self.records} {inner} ON {inner}.pk = {pk}", inner


def in_force(row: str, now: str) -> str:
    """Say in SQL whether a row's term contains now."""
    return f"{row}.since <= {now} AND ({row}.until IS NULL OR {now} < {row}.until)"


def selector_condition(
    rule: str, record: str, params: Params, *, unknown: bool, label: str | None = None
) -> str:
    """Say in SQL whether a rule's selector matches a record.

    `unknown` is the answer for what the record does not say: a restriction holds in doubt
    (True), an exception does not (False). `label` replaces the look-up of the rule's label.
    """
    gathering = params.bind_in(f"{record}.type", load_domains().gathering)
    columns = ("domain", "author", "episode", "record_type", "record_id")
    attribute = {"record_type": "type", "record_id": "id"}
    equal = [
        f"({rule}.{name} IS NULL OR {rule}.{name} = {record}.{attribute.get(name, name)})"
        for name in columns
    ]
    labelled = any_of(
        f"{rule}.label IS NULL",
        label or exists("record_label l", f"l.pk = {record}.pk", f"l.label = {rule}.label"),
    )
    unbounded = f"({rule}.period_from IS NULL AND {rule}.period_to IS NULL)"
    at = f"{record}.clinical_date"
    inside = all_of(
        f"{at} IS NOT NULL",
        f"({rule}.period_from IS NULL OR {rule}.period_from <= {at})",
        f"({rule}.period_to IS NULL OR {at} < {rule}.period_to)",
    )
    period = any_of(unbounded, inside, f"{at} IS NULL" if unknown else FALSE)
    matches = all_of(*equal, labelled, period)
    if unknown:
        return any_of(gathering, matches)
    everything = all_of(*(f"{rule}.{column.name} IS NULL" for column in SELECTOR_COLUMNS))
    return any_of(everything, all_of(negated(gathering), matches))


@dataclass(frozen=True)
class _Compiler:
    requester: Requester
    interaction: str
    now_ms: int
    dialect: Dialect
    alias: str
    records: str
    roles: RoleMatrix
    params: Params

    @property
    def now(self) -> str:
        return self.params.bind(self.now_ms)

    @property
    def source(self) -> RecordSource:
        return RecordSource(self.alias, self.records, nested=self.dialect != "spark")

    def visible(self) -> str:
        return all_of(
            self.in_scope(),
            self.readable_type(),
            any_of(
                all_of(f"{self.alias}.directory = 1", self.directory()),
                all_of(f"{self.alias}.directory = 0", self.record()),
            ),
        )

    # Line 1, and the types with readers of their own.

    def in_scope(self) -> str:
        letter = interaction_letter(self.interaction)
        scopes = [scope for scope in self.requester.scopes if letter in scope.rights]
        wide = self.typed({scope.type for scope in scopes if scope.context != "patient"})
        own = self.typed({scope.type for scope in scopes if scope.context == "patient"})
        compartment = any_of(f"{self.alias}.directory = 1", self.of_patient())
        return any_of(wide, all_of(own, compartment))

    def typed(self, types: set[str]) -> str:
        return TRUE if "*" in types else self.params.bind_in(f"{self.alias}.type", types)

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
        return negated(self.params.bind_in(f"{self.alias}.type", closed))

    def directory(self) -> str:
        readers = self.roles.directory_readers
        closed = {t for t, roles in readers.items() if self.requester.role not in roles}
        authors = {t for t in closed if "author" in readers[t]}
        return any_of(
            negated(self.params.bind_in(f"{self.alias}.type", closed)),
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
        named = self.params.bind_in(f"{self.alias}.type", self.roles.readers)
        if role == "steward":
            return any_of(named, negated(self.has_patient()))
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
        domain_open = negated(self.params.bind_in(f"{self.alias}.domain", cells["none"]))
        shared = all_of(self.has_patient(), negated(self.some_patient_denies(cells["restricted"])))
        return all_of(domain_open, any_of(self.is_author(), shared))

    def some_patient_denies(self, restricted: set[str]) -> str:
        extra, record = self.source.link("rp_r", "rp.pk")
        closed = any_of(
            self.params.bind_in(f"{record}.domain", restricted),
            self.restriction(record, sealed=0),
        )
        return exists(
            f"record_patient rp{extra}",
            f"rp.pk = {self.alias}.pk",
            any_of(
                self.restriction(record, sealed=1),
                all_of(
                    negated(self.emergency()),
                    any_of(
                        negated(exists("consent_joining j", self.term("j"))),
                        negated(self.sharing("rp.patient", "")),
                        all_of(closed, negated(self.grant(record))),
                    ),
                ),
            ),
        )

    def term(self, row: str, patient: str = "rp.patient") -> str:
        return all_of(f"{row}.patient = {patient}", in_force(row, self.now))

    def mine(self, row: str) -> str:
        organization = self.requester.organization
        if organization is None:
            return FALSE
        return all_of(
            f"{row}.person = {self.params.bind(self.requester.person)}",
            f"{row}.organization = {self.params.bind(organization)}",
        )

    def emergency(self) -> str:
        return exists("consent_emergency em", self.term("em"), self.mine("em"))

    def sharing(self, patient: str, since: str) -> str:
        """Some sharing of the patient with the organisation, begun no later than `since`."""
        organization = self.requester.organization
        if organization is None:
            return FALSE
        name = self.params.bind(organization)
        everyone = self.params.bind("*")
        return any_of(
            exists(
                "consent_sharing sh",
                self.term("sh", patient),
                f"sh.organization IN ({name}, {everyone})",
                f"sh.since <= {since}" if since else TRUE,
            ),
            exists(
                "consent_deemed de",
                f"de.organization = {name}",
                in_force("de", self.now),
                f"de.since <= {since}" if since else TRUE,
            ),
        )

    def grant(self, record: str) -> str:
        return exists(
            "consent_grant gr",
            self.term("gr"),
            self.mine("gr"),
            f"(gr.domain = {record}.domain OR gr.domain = {self.params.bind('*')})",
            self.sharing("gr.patient", "gr.since"),
        )

    def restriction(self, record: str, *, sealed: int | None) -> str:
        """A restriction of the patient `rp.patient` binds, and none of its exceptions lifts it."""
        extra, inner, lifted, label = "", record, "consent_exception ex", None
        if self.dialect == "spark":
            # The exception below needs the record too: one more level, one more join.
            extra = f" JOIN {self.records} x_r ON x_r.pk = x_p.pk"
            extra = f" JOIN record_patient x_p ON x_p.patient = x.patient{extra}"
            inner = "x_r"
            lifted += " LEFT JOIN record_label el ON el.label = ex.label"
            label = "el.pk = x_r.pk"
        exception = exists(
            lifted,
            "ex.consent = x.consent AND ex.rule = x.rule",
            self.actor("ex"),
            selector_condition("ex", inner, self.params, unknown=False, label=label),
        )
        return exists(
            f"consent_restriction x{extra}",
            self.term("x"),
            "x_p.pk = rp.pk" if extra else TRUE,
            TRUE if sealed is None else f"x.sealed = {self.params.bind(sealed)}",
            self.actor("x"),
            selector_condition("x", inner, self.params, unknown=True),
            negated(exception),
        )

    def actor(self, rule: str) -> str:
        person = self.params.bind(self.requester.person)
        kinds = {"person": f"= {person}"}
        if self.requester.role in ("carer", "patient"):
            carer = f"({rule}.actor_value IS NULL OR {rule}.actor_value = {person})"
            special = [all_of(f"{rule}.actor_kind = {self.params.bind('carer')}", carer)]
        else:
            special = []
            if self.requester.organization is not None:
                kinds["organization"] = f"= {self.params.bind(self.requester.organization)}"
            if self.requester.profession is not None:
                kinds["profession"] = f"= {self.params.bind(self.requester.profession)}"
        return any_of(
            f"{rule}.actor_kind = {self.params.bind('everyone')}",
            *(
                f"({rule}.actor_kind = {self.params.bind(kind)} AND {rule}.actor_value {equal})"
                for kind, equal in kinds.items()
            ),
            *special,
        )

    # Patients and carers.

    def own(self) -> str:
        patient = self.requester.patient
        if patient is None:
            return FALSE
        others = f"rp.patient <> {self.params.bind(patient)}"
        return all_of(self.of_patient(), negated(self.no_power(others)), negated(self.held()))

    def carer(self) -> str:
        return all_of(self.has_patient(), negated(self.no_power(TRUE)), negated(self.held()))

    def no_power(self, which: str) -> str:
        extra, record = self.source.link("rp_r", "rp.pk")
        power = exists(
            "consent_carer ca",
            self.term("ca"),
            f"ca.person = {self.params.bind(self.requester.person)}",
            any_of(
                "ca.can_view = 1",
                all_of("ca.can_manage = 1", f"{record}.type = {self.params.bind('Consent')}"),
            ),
        )
        minor = all_of(
            exists("consent_minor mi", self.term("mi")),
            exists(
                "record_label ml",
                "ml.pk = rp.pk",
                self.params.bind_in("ml.label", MINOR_LABELS),
            ),
        )
        return exists(
            f"record_patient rp{extra}",
            f"rp.pk = {self.alias}.pk",
            which,
            any_of(negated(power), self.restriction(record, sealed=None), minor),
        )

    def held(self) -> str:
        extra, record = self.source.link("hd_r", "hd_p.pk")
        return exists(
            f"consent_hold hd JOIN record_patient hd_p ON hd_p.patient = hd.patient{extra}",
            f"hd_p.pk = {self.alias}.pk",
            in_force("hd", self.now),
            f"hd.record_type = {record}.type AND hd.record_id = {record}.id",
        )
