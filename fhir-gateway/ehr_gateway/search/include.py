"""What comes with the matches: the resources they refer to, or that refer to them.

The consent predicate stands in every round. What the requester may not find neither comes along nor
leads on, and it does not count towards the limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ehr_fhir.errors import Invalid, Issue
from ehr_fhir.search.includes import Include
from ehr_gateway.access import Access
from ehr_gateway.database import Connection, encode_list, in_list
from ehr_gateway.search.plan import join_from
from ehr_gateway.search.statements import SearchLimits
from ehr_gateway.store.store import Version

__all__ = ["find_included"]

ParameterIds = Mapping[tuple[str, str], int]


def find_included(
    connection: Connection,
    parameter_ids: ParameterIds,
    access: Access,
    includes: Sequence[Include],
    matches: Sequence[Version],
    limits: SearchLimits,
) -> tuple[tuple[Version, ...], tuple[Issue, ...]]:
    """Return what comes with the matches, each once, and a warning where a limit cut it short."""
    if any(one.source == "AuditEvent" for one in includes):
        raise Invalid("The audit log is searched at its own address, not through others.")
    seen = {one.pk for one in matches}
    found: list[Version] = []
    new: Sequence[Version] = matches
    most = limits.max_included
    for number in range(limits.max_include_rounds + 1):
        follow = [one for one in includes if number == 0 or one.iterate]
        if not follow or not new:
            return tuple(found), ()
        if number == limits.max_include_rounds:
            break
        new = _follow_includes(
            connection, parameter_ids, access, follow, new, seen, most - len(found)
        )
        if len(found) + len(new) > most:
            return (*found, *new[: most - len(found)]), (_limit_warning("resources", most),)
        seen |= {one.pk for one in new}
        found += new
    return tuple(found), (_limit_warning("rounds", limits.max_include_rounds),)


def _follow_includes(
    connection: Connection,
    parameter_ids: ParameterIds,
    access: Access,
    follow: Sequence[Include],
    new: Iterable[Version],
    seen: Iterable[int],
    most: int,
) -> list[Version]:
    by_type: dict[str, list[int]] = {}
    for one in new:
        by_type.setdefault(one.type, []).append(one.pk)
    selects, lists = [], {"seen": encode_list(connection.dialect, seen)}
    for number, include in enumerate(follow):
        kind = include.target if include.reverse else include.source
        pks = [pk for one, some in by_type.items() if kind in (None, one) for pk in some]
        if pks:
            params = [parameter_ids[one.resource_type, one.code] for one in include.parameters]
            from_here = in_list(connection.dialect, f"from{number}")
            selects.append(_include_select(include, ", ".join(map(str, params)), from_here))
            lists[f"from{number}"] = encode_list(connection.dialect, pks)
    if not selects:
        return []
    visible, unseen = access.search_predicate, f"NOT (r.pk {in_list(connection.dialect, 'seen')})"
    # Numbers of ours and names of R4's types only; DISTINCT so that each is judged once.
    rows = connection.execute(
        f"WITH led AS MATERIALIZED (SELECT DISTINCT pk FROM ({' UNION ALL '.join(selects)}) one)"  # noqa: S608
        f" SELECT r.* FROM {join_from(connection.dialect, 'led')}"
        f" WHERE {unseen} AND r.current = 1 AND r.deleted = 0"
        f" AND ({visible.sql}) ORDER BY r.type, r.id LIMIT :most",
        {**visible.params, **lists, "most": most + 1},
    )
    return [Version.from_row(row) for row in rows]


def _include_select(include: Include, params: str, from_here: str) -> str:
    """Return what selects the pks that one include leads to."""
    if include.reverse:
        return (
            f"SELECT i.pk FROM resource s CROSS JOIN idx_reference i WHERE s.pk {from_here}"  # noqa: S608
            f" AND i.param IN ({params}) AND i.target_id = s.id AND i.target_type = s.type"
        )
    narrowed = f" AND i.target_type = '{include.target}'" if include.target else ""
    return (
        f"SELECT t.pk FROM idx_reference i CROSS JOIN resource t WHERE i.pk {from_here}"  # noqa: S608
        f" AND i.param IN ({params}){narrowed}"
        " AND t.type = i.target_type AND t.id = i.target_id AND t.current = 1"
    )


def _limit_warning(what: str, most: int) -> Issue:
    text = f"What is included was cut short at {most} {what}. Ask for fewer matches by `_count`."
    return Issue(text, None, "too-costly", "warning")
