"""The consent rules' domain model: requester, record, decision, predicate, rule row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from ehr_fhir.dates import day_of_ms, day_start_ms
from ehr_privacy.consent.roles import RoleMatrix, load_roles
from ehr_privacy.consent.scopes import Scope, Token

Value = str | int | None

# The words of docs/explanation/consent.md; what the rule file does not map is `other`.
DOMAINS = (
    "person",
    "allergy",
    "diagnosis",
    "procedure",
    "medication",
    "encounter",
    "summary",
    "birth",
    "immunisation",
    "laboratory",
    "radiology",
    "investigation",
    "referral",
    "observation",
    "chinese-medicine",
    "other",
)


@dataclass(frozen=True)
class Column:
    """One column of a rule table."""

    name: str
    type: Literal["TEXT", "INTEGER"]
    nullable: bool


# What the predicates read of a record, beside its type, id, author, patients and labels.
RECORD_COLUMNS = (
    Column("domain", "TEXT", True),
    Column("clinical_date", "INTEGER", True),
    Column("directory", "INTEGER", False),
    Column("inner_domains", "TEXT", True),
    Column("episodes", "TEXT", True),
    Column("added_episodes", "TEXT", True),
    Column("author_people", "TEXT", True),
    Column("added_people", "TEXT", True),
    Column("added_from", "INTEGER", True),
    Column("added_to", "INTEGER", True),
    Column("clinical_consent", "INTEGER", False),
)


@dataclass(frozen=True)
class DateRange:
    """Days from the first to the last, both included."""

    first: date
    last: date

    @property
    def first_ms(self) -> int:
        """The start of the first day."""
        return day_start_ms(self.first)

    @property
    def last_ms(self) -> int:
        """The start of the last day."""
        return day_start_ms(self.last)

    def __or__(self, other: DateRange | None) -> DateRange:
        """Return the least range that holds both."""
        if other is None:
            return self
        return DateRange(min(self.first, other.first), max(self.last, other.last))


def read_columns(row: Any) -> dict[str, Any]:
    """Return the fields of a `Record` that a row of RECORD_COLUMNS holds."""
    at, first, last = (row[name] for name in ("clinical_date", "added_from", "added_to"))
    return {
        "domain": row["domain"] or "other",
        "clinical_date": None if at is None else day_of_ms(at),
        "directory": bool(row["directory"]),
        **{
            name: split_bars(row[name])
            for name in (
                "inner_domains", "episodes", "added_episodes", "author_people", "added_people"
            )
        },
        "added_dates": None if first is None else DateRange(day_of_ms(first), day_of_ms(last)),
        "clinical_consent": bool(row["clinical_consent"]),
    }  # fmt: skip


# Stands among a record's authors for a person who is no Practitioner of this server, as far as is
# told: by number, by name, or by a role that is nobody's. No id looks like it.
UNKNOWN_PERSON = "*"
# A date that is not known to the day may be any.
ANY_DATE = DateRange(date(1, 1, 2), date(9999, 12, 30))


@dataclass(frozen=True)
class Requester:
    """A person (or a system) acting for one organisation, in one profession, for one purpose."""

    role: str
    person: str
    organization: str | None = None
    profession: str | None = None
    purpose: str = "TREAT"
    patient: str | None = None
    scopes: tuple[Scope, ...] = ()
    # Whether declared emergencies open nothing: all emergency access is suspended.
    emergency_suspended: bool = False

    def __hash__(self) -> int:
        # Cached: the predicate cache hashes the requester at each request.
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = hash((self.role, self.person, self.organization, self.purpose, self.scopes))
            object.__setattr__(self, "_hash", found)
        return found


@dataclass(frozen=True)
class Record:
    """The facts of one version of one resource by which the rules decide.

    `labels`, `episodes` and `author_people` are all there are. What is in `added_labels`,
    `added_episodes` and `added_people` too was added by a third party or by a reference: it closes
    a record as the others do, and opens none.
    """

    type: str
    id: str
    patients: frozenset[str] = frozenset()
    domain: str = "other"
    labels: frozenset[str] = frozenset()
    author: str | None = None
    clinical_date: date | None = None
    # The Encounters that it belongs to.
    episodes: frozenset[str] = frozenset()
    directory: bool = False
    # Its other domains: those of what it holds (contained, entries), those that third parties said.
    inner_domains: frozenset[str] = frozenset()
    # The Practitioners it names as its authors, and UNKNOWN_PERSON.
    author_people: frozenset[str] = frozenset()
    added_labels: frozenset[str] = frozenset()
    added_episodes: frozenset[str] = frozenset()
    added_people: frozenset[str] = frozenset()
    # The clinical dates that third parties said; None if they said none.
    added_dates: DateRange | None = None
    # Whether it is a Consent about care, which is a clinical document and no rule.
    clinical_consent: bool = False
    # Whether it is an Observation that names the patient as its performer; for writing alone.
    performed_by_patient: bool = False
    # Its values in the search index, for scopes that are limited by them; no other line asks.
    tokens: frozenset[Token] = frozenset()

    @property
    def ruled_type(self) -> str:
        """The type by which its readers or writers may be named; empty for a Consent about care."""
        return "" if self.clinical_consent else self.type

    @property
    def own_entry(self) -> bool:
        """Whether the patient measured it and wrote it down, and no organisation did."""
        return self.performed_by_patient and self.author is None

    @property
    def domains(self) -> frozenset[str]:
        """Every domain the record counts under."""
        return self.inner_domains | {self.domain}

    def is_only_of(self, domain: Value) -> bool:
        """Say whether the record is of this domain and holds nothing of another."""
        return self.domain == domain and not self.inner_domains

    @property
    def names_author(self) -> bool:
        """Whether the record itself names a person as its author, and nobody who is not known."""
        return UNKNOWN_PERSON not in self.author_people and bool(
            self.author_people - self.added_people
        )

    @property
    def clinical_ms(self) -> int | None:
        """The clinical date as the rule tables and the record table hold it."""
        return None if self.clinical_date is None else day_start_ms(self.clinical_date)

    @property
    def column_values(self) -> tuple[str | int | None, ...]:
        """The values of RECORD_COLUMNS, as the record table holds them."""
        dates = self.added_dates
        return (
            self.domain, self.clinical_ms, int(self.directory), join_with_bars(self.inner_domains),
            join_with_bars(self.episodes), join_with_bars(self.added_episodes),
            join_with_bars(self.author_people), join_with_bars(self.added_people),
            dates.first_ms if dates else None, dates.last_ms if dates else None,
            int(self.clinical_consent),
        )  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """The answer, its reason, the Consent that decided it, and its obligations."""

    permit: bool
    reason: str
    consent: str | None = None
    obligations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predicate:
    """A boolean SQL expression over one record row, with its named parameters."""

    sql: str
    params: dict[str, str | int]


@dataclass(frozen=True)
class RuleRow:
    """One row of one rule table."""

    table: str
    values: Mapping[str, Value]


class Rules:
    """All rule rows in memory, for the reference decision."""

    def __init__(self, rows: Iterable[RuleRow] = (), roles: RoleMatrix | None = None) -> None:
        self.roles = roles or load_roles()
        self._rows: dict[str, list[Mapping[str, Value]]] = defaultdict(list)
        for row in rows:
            self._rows[row.table].append(row.values)
        self._merged = merge_accounts(
            (str(row["patient"]), str(row["other"])) for row in self.rows("consent_link")
        )

    def rows(self, table: str, **equal: Value) -> Iterator[Mapping[str, Value]]:
        """Yield the rows of a table whose named columns have the given values."""
        for row in self._rows.get(table, ()):
            if all(row[name] == value for name, value in equal.items()):
                yield row

    def memberships(self, practitioner: str, organization: str) -> list[Mapping[str, Value]]:
        """Return the terms for which a Practitioner belongs to an organisation."""
        return list(
            self.rows("consent_membership", practitioner=practitioner, organization=organization)
        )

    def in_force(self, table: str, now_ms: int, **equal: Value) -> list[Mapping[str, Value]]:
        """Return the matching rows whose term holds now, by Consent id."""
        rows = [row for row in self.rows(table, **equal) if is_in_force(row, now_ms)]
        return sorted(rows, key=lambda row: str(row["consent"]))

    def closing_rows(
        self, table: str, now_ms: int, patient: str, **equal: Value
    ) -> list[Mapping[str, Value]]:
        """Return the closing rows in force for a patient, those of their own account first.

        What closes one account of a person closes the others; what opens one opens no other.
        """
        others = self._merged.get(patient, frozenset()) - {patient}
        return [
            row
            for account in (patient, *sorted(others))
            for row in self.in_force(table, now_ms, patient=account, **equal)
        ]


def merge_accounts(links: Iterable[tuple[str, str]]) -> Mapping[str, frozenset[str]]:
    """Return account -> all accounts of the same person, for people who have several.

    >>> found = merge_accounts([("a", "b"), ("c", "b"), ("x", "y")])
    >>> sorted(found["a"]), sorted(found["y"]), "z" in found
    (['a', 'b', 'c'], ['x', 'y'], False)
    """
    found: dict[str, frozenset[str]] = {}
    for account, other in links:
        accounts = found.get(account, frozenset({account})) | found.get(other, frozenset({other}))
        found.update(dict.fromkeys(accounts, accounts))
    return found


def join_with_bars(names: Iterable[str]) -> str | None:
    """Join names with bars around each of them, so that SQL can look for one; None without names.

    >>> join_with_bars({"b", "a"}), join_with_bars(())
    ('|a|b|', None)
    """
    text = "|".join(sorted(names))
    return f"|{text}|" if text else None


def split_bars(text: Value) -> frozenset[str]:
    """Return the names of a text of `join_with_bars`.

    >>> sorted(split_bars("|a|b|")), split_bars(None)
    (['a', 'b'], frozenset())
    """
    return frozenset(str(text)[1:-1].split("|")) if text else frozenset()


def is_in_force(row: Mapping[str, Value], now_ms: int) -> bool:
    """Say whether a row's half-open term [since, until) contains now.

    >>> is_in_force({"since": 5, "until": 7}, 5), is_in_force({"since": 5, "until": 7}, 7)
    (True, False)
    """
    since, until = row["since"], row["until"]
    return int(since or 0) <= now_ms and (until is None or now_ms < int(until))
