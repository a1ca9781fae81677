"""SQL conditions for whether a rule's selector matches a record, as `selector_matching` decides."""

from __future__ import annotations

from collections.abc import Iterable

from ehr_privacy.consent.absent_facts import (
    PEOPLE,
    types_without_author,
    types_without_date,
)
from ehr_privacy.consent.domain_rules import load_domains
from ehr_privacy.consent.model import UNKNOWN_PERSON
from ehr_privacy.consent.sql_expressions import Params, all_of, any_of, exists, negate
from ehr_privacy.consent.tables import SELECTOR_COLUMNS

__all__ = ["contains_name", "in_force_condition", "selector_condition"]


def in_force_condition(row: str, now: str) -> str:
    """Say in SQL whether a row's term contains now."""
    # The parentheses first: SQLite's parser keeps all that stands before them.
    return all_of(f"({row}.until IS NULL OR {now} < {row}.until)", f"{row}.since <= {now}")


def contains_name(params: Params, listing: str, name: str) -> str:
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
) -> str:
    """Say in SQL whether a rule's selector matches a record.

    `unknown` is the answer for what the record does not say, or what others say of it: a
    restriction holds in doubt (True), an exception does not (False).
    """
    gathered = load_domains().gathering
    attribute = {"record_type": "type", "record_id": "id"}
    equal = [
        f"({rule}.{name} IS NULL OR {rule}.{name} = {record}.{attribute.get(name, name)})"
        for name in ("author", "record_type", "record_id")
    ]
    in_domain, inner = f"{rule}.domain = {record}.domain", f"{record}.inner_domains"
    by, added_by = f"{record}.author_people", f"{record}.added_people"
    by_person = contains_name(params, by, f"{rule}.author_person")
    in_episode = contains_name(params, f"{record}.episodes", f"{rule}.episode")
    labelled = [f"l.pk = {record}.pk", f"l.label = {rule}.label"]
    if unknown:
        in_domain = any_of(in_domain, contains_name(params, inner, f"{rule}.domain"))
        # Nobody is named as author, nobody but by third parties, or somebody who is not known.
        unnamed = any_of(
            f"{by} IS NULL",
            all_of(f"{added_by} IS NOT NULL", f"{by} = {added_by}"),
            contains_name(params, by, params.word(UNKNOWN_PERSON)),
        )
        in_doubt = _in_doubt(record, types_without_author(), params)
        by_person = any_of(
            by_person, all_of(unnamed, in_doubt, _membership_condition(rule, record))
        )
    else:
        in_domain = all_of(in_domain, f"{inner} IS NULL")
        added = contains_name(params, added_by, f"{rule}.author_person")
        by_person = all_of(by_person, negate(added))
        added = contains_name(params, f"{record}.added_episodes", f"{rule}.episode")
        in_episode = all_of(in_episode, negate(added))
        labelled.append("l.added = 0")
    selected = [
        any_of(f"{rule}.domain IS NULL", in_domain),
        any_of(f"{rule}.author_person IS NULL", by_person),
        any_of(f"{rule}.episode IS NULL", in_episode),
        any_of(f"{rule}.label IS NULL", exists("record_label l", *labelled)),
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


def _membership_condition(rule: str, record: str) -> str:
    """Say in SQL that the person of a rule belonged to the record's author organisation then."""
    at = f"{record}.clinical_date"
    then = any_of(
        f"{at} IS NULL",
        f"{record}.added_from IS NOT NULL",
        all_of(f"m.since <= {at}", f"(m.until IS NULL OR {at} < m.until)"),
    )
    of_author = (f"{record}.author IS NOT NULL", f"m.organization = {record}.author", then)
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
