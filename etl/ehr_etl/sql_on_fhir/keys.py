"""Which columns of a view hold keys, by what their paths give and not by what they are called.

De-identified records have keys in `id` and `reference` alone. A column whose path only navigates to
one holds it whole, so that it can be replaced by another pseudonym. A column that is computed from
a key (a part of it, a text around it, a comparison with it) holds what cannot be replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum

from ehr_etl.sql_on_fhir.definition import Column, Select, ViewDefinition
from ehr_fhir.fhirpath.syntax import (
    Binary,
    Call,
    Index,
    Member,
    Node,
    Special,
    TypeTest,
    Unary,
    iterate_nodes,
)

__all__ = ["KeyUse", "key_use_by_column"]

_KEY_FUNCTIONS = frozenset({"getResourceKey", "getReferenceKey"})
# Elements that identify a resource, or hold what identifies one.
_KEY_ELEMENTS = frozenset({"id", "reference", "identifier", "fullUrl", "url"})
# They give items of their input as they are, or what their argument gives for each.
_NAVIGATION = frozenset(
    """as combine distinct extension first last ofType resolve select single skip tail take union
    where""".split()
)
# Their arguments are among what they give.
_GIVES_ARGUMENTS = frozenset({"combine", "select", "union"})
# Whether and how many keys there are tells nothing of a key.
_PRESENCE = frozenset({"count", "empty", "exists", "hasValue"})


class KeyUse(IntEnum):
    """What a value has of a key."""

    NONE = 0
    WHOLE = 1
    COMPUTED = 2


def key_use_by_column(view: ViewDefinition) -> Mapping[str, KeyUse]:
    """Return what each column has of keys; branches of a union count together, as views do."""
    uses: dict[str, KeyUse] = {}
    for part in view.parts:
        for name, use in _key_use_of_part(part).items():
            uses[name] = max(use, uses.get(name, KeyUse.NONE))
    return uses


def _key_use_of_part(view: ViewDefinition) -> Mapping[str, KeyUse]:
    chosen = any(_use(path, KeyUse.NONE) for path in view.where)
    uses: dict[str, KeyUse] = {}
    for select in view.selects:
        for column, focus in _columns(select, KeyUse.NONE):
            # A row that is there because of a key tells of the key, in whatever column.
            chosen = chosen or focus is KeyUse.COMPUTED
            if column is not None:
                use = max(_use(column.path, focus), uses.get(column.name, KeyUse.NONE))
                uses[column.name] = use
    return dict.fromkeys(uses, KeyUse.COMPUTED) if chosen else uses


def _columns(select: Select, focus: KeyUse) -> Iterator[tuple[Column | None, KeyUse]]:
    """Yield the columns with what their focus has of keys; None for a focus without columns."""
    paths = [path for path in (select.for_each, select.for_each_or_null) if path is not None]
    for path in (*paths, *select.repeat):
        focus = max(focus, _use(path, focus))
    for column in (None, *select.columns):
        yield column, focus
    for inner in (*select.selects, *select.unions):
        yield from _columns(inner, focus)


def _use(node: Node | None, focus: KeyUse) -> KeyUse:
    match node:
        case None | Special(name="$this"):
            return focus
        case Member(base=base, name=name):
            use = _use(base, focus)
            return max(use, KeyUse.WHOLE) if name in _KEY_ELEMENTS else use
        case Call():
            return _use_of_call(node, focus)
        case Index(base=base, index=index):
            return _apply_condition(_use(base, focus), _use(index, focus))
        case Binary(operator="|", left=left, right=right):
            return max(_use(left, focus), _use(right, focus))
        case TypeTest(operator="as", operand=operand):
            return _use(operand, focus)
        case Binary(left=left, right=right):
            return _mark_computed(max(_use(left, focus), _use(right, focus)))
        case Unary(operand=operand) | TypeTest(operand=operand):
            return _mark_computed(_use(operand, focus))
        case _:
            return KeyUse.COMPUTED if focus is KeyUse.COMPUTED else KeyUse.NONE


def _use_of_call(call: Call, focus: KeyUse) -> KeyUse:
    base = _use(call.base, focus)
    arguments = max((_use(node, base) for node in call.arguments), default=KeyUse.NONE)
    if call.name in _KEY_FUNCTIONS:
        return max(base, KeyUse.WHOLE)
    if call.name in _PRESENCE and not call.arguments and base is KeyUse.WHOLE:
        return KeyUse.NONE if _is_of_one_source(call.base) else KeyUse.COMPUTED
    if call.name in _GIVES_ARGUMENTS:
        return max(base, arguments)
    if call.name in _NAVIGATION:
        return _apply_condition(base, arguments)
    return _mark_computed(max(base, arguments))


def _is_of_one_source(node: Node | None) -> bool:
    """Say whether items are counted as they come; `(id | 'a').count()` tells whether id is a."""
    return node is None or not any(
        isinstance(part, Binary)
        or (isinstance(part, Call) and part.name in {*_GIVES_ARGUMENTS, "distinct"})
        for part in iterate_nodes(node)
    )


def _apply_condition(use: KeyUse, condition: KeyUse) -> KeyUse:
    """Return the use of items after a condition: one on a key makes it computed."""
    return KeyUse.COMPUTED if condition else use


def _mark_computed(use: KeyUse) -> KeyUse:
    return KeyUse.COMPUTED if use else KeyUse.NONE
