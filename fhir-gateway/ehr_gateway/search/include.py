"""`_include` and `_revinclude`: resources that matches refer to, or that refer to matches.

Each round applies the consent condition. A resource that the requester cannot find is not included,
leads no further, and does not count towards the limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ehr_fhir.errors import Invalid, Issue
from ehr_fhir.search.includes import Include
from ehr_gateway.access import Access
from ehr_gateway.database import Connection, encode_list, in_list
from ehr_gateway.search.plan import join_from
from ehr_gateway.search.statements import SearchLimits
from ehr_gateway.store.disclosure import Disclosure, reader_parameters
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
    """Return the included resources, each once, and a warning if a limit cut them short."""
    if any(include.source == "AuditEvent" for include in includes):
        raise Invalid("The audit log is searched at its own address, not through others.")
    seen = {match.pk for match in matches}
    included: list[Version] = []
    new: Sequence[Version] = matches
    max_included = limits.max_included
    for number in range(limits.max_include_rounds + 1):
        # After the first round only `:iterate` includes are followed, from what the last one found.
        follow = [include for include in includes if number == 0 or include.iterate]
        if not follow or not new:
            return tuple(included), ()
        if number == limits.max_include_rounds:
            break
        limit = max_included - len(included)
        new = _follow_includes(connection, parameter_ids, access, follow, new, seen, limit)
        if len(new) > limit:
            return (*included, *new[:limit]), (_limit_warning("resources", max_included),)
        seen |= {version.pk for version in new}
        included += new
    return tuple(included), (_limit_warning("rounds", limits.max_include_rounds),)


def _follow_includes(
    connection: Connection,
    parameter_ids: ParameterIds,
    access: Access,
    follow: Sequence[Include],
    new: Iterable[Version],
    seen: Iterable[int],
    limit: int,
) -> list[Version]:
    """Return what the includes lead to from `new`, but not `seen`; up to one more than `limit`."""
    pks_by_type: dict[str, list[int]] = {}
    for version in new:
        pks_by_type.setdefault(version.type, []).append(version.pk)
    selects, lists = [], {"seen": encode_list(connection.dialect, seen)}
    for number, include in enumerate(follow):
        kind = include.target if include.reverse else include.source
        pks = [
            pk for type_, of_type in pks_by_type.items() if kind in (None, type_) for pk in of_type
        ]
        if pks:
            params = [
                parameter_ids[parameter.resource_type, parameter.code]
                for parameter in include.parameters
                # What is inside a match is there already.
                if not parameter.points_inside
            ]
            if not params:
                continue
            from_here = in_list(connection.dialect, f"from{number}")
            selects.append(_include_select(include, ", ".join(map(str, params)), from_here))
            lists[f"from{number}"] = encode_list(connection.dialect, pks)
    if not selects:
        return []
    visible, unseen = access.search_predicate, f"NOT (r.pk {in_list(connection.dialect, 'seen')})"
    requester = access.requester
    # The text holds numbers of ours and names of R4's types only. DISTINCT, so that consent is
    # checked once for each resource.
    rows = connection.execute(
        f"WITH targets AS MATERIALIZED (SELECT DISTINCT pk FROM ({' UNION ALL '.join(selects)}) t)"  # noqa: S608
        f" SELECT r.*{Disclosure.columns(connection.dialect)}"
        f" FROM {join_from(connection.dialect, 'targets')}"
        f" WHERE {unseen} AND r.current = 1 AND r.deleted = 0"
        f" AND ({visible.sql}) ORDER BY r.type, r.id LIMIT :limit",
        {
            **visible.params,
            **lists,
            **reader_parameters(requester.person, requester.organization, access.now_ms),
            "limit": limit + 1,
        },
    )
    return [Version.from_row(row, has_disclosure=True) for row in rows]


def _include_select(include: Include, params: str, from_here: str) -> str:
    """Return the SELECT of the pks that one include leads to."""
    # `i` is the index row of a reference, `t` its target; reversed, the target is at hand as `s`.
    # SQLite keeps the order of a CROSS JOIN: from the resources at hand outwards.
    if include.reverse:
        return (
            f"SELECT i.pk FROM resource s CROSS JOIN idx_reference i WHERE s.pk {from_here}"  # noqa: S608
            f" AND i.param IN ({params}) AND i.target_id = s.id AND i.target_type = s.type"
        )
    targets = (include.target,) if include.target else include.targets
    names = ", ".join(f"'{target}'" for target in targets)
    narrowed = f" AND i.target_type IN ({names})" if names else ""
    return (
        f"SELECT t.pk FROM idx_reference i CROSS JOIN resource t WHERE i.pk {from_here}"  # noqa: S608
        f" AND i.param IN ({params}){narrowed}"
        " AND t.type = i.target_type AND t.id = i.target_id AND t.current = 1"
    )


def _limit_warning(noun: str, limit: int) -> Issue:
    text = f"What is included was cut short at {limit} {noun}. Ask for fewer matches by `_count`."
    return Issue(text, None, "too-costly", "warning")
