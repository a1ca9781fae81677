"""ViewDefinition to the intermediate representation; a dialect makes it one query.

The rows of a resource are one expression: a list of structs, built by higher-order functions and
unfolded at the end. Nothing is joined or shuffled, and no row passes through Python.

    select with columns         a list of one struct
    sibling selects             the cross product, by nested transforms
    forEach                     the rows of each item, flattened
    forEachOrNull               as forEach, and one row of NULLs for an empty collection
    unionAll                    the rows of each branch, one list after the other
    repeat                      forEach, unrolled; a resource nested deeper than that is an error
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ehr_etl.sql_on_fhir.definition import Column, Select, ViewDefinition
from ehr_etl.sql_on_fhir.dialect import Dialect
from ehr_etl.sql_on_fhir.expressions import (
    Cast,
    Choose,
    Constant,
    ElementTree,
    Expression,
    Fail,
    FieldOf,
    Items,
    Reference,
    Struct,
    Transform,
    name_column,
    new_variable,
    null,
    number,
    operation,
    transform,
)
from ehr_etl.sql_on_fhir.paths import Scope, compile_condition, compile_path
from ehr_etl.sql_on_fhir.spark_dialect import SparkDialect
from ehr_etl.sql_on_fhir.types import BOOLEAN, ListType, SqlType, StructType, sql_type
from ehr_etl.sql_on_fhir.values import (
    Value,
    as_list,
    as_number,
    exists,
    single_value,
)
from ehr_etl.view_faults import REPEAT_TOO_DEEP
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Node, Variable

# How many levels `repeat` is unrolled, by the number of its paths. The shallow limits are for
# DuckDB, which takes time exponential in nested lambdas to read a query (measured: 8 levels 0.04 s,
# 10 levels 0.24 s, 12 levels 1.7 s); whoever runs it compiles again when a resource is deeper.
# A repeat within a repeat has the shallow ones always, as their levels add up. More paths, or a
# third repeat within, are refused: what is compiled grows with the power of the levels (measured:
# four paths 11 s, three repeats not done after 100 s).
MAX_REPEAT_DEPTH = {1: 12, 2: 5, 3: 4}
SHALLOW_REPEAT_DEPTH = {1: 6, 2: 3, 3: 3}
_MOST_NESTED_REPEATS = 2


@dataclass(frozen=True)
class OutputColumn:
    """A column of the table: its name, its FHIR type and its type in SQL."""

    name: str
    fhir_type: str
    type: SqlType


@dataclass(frozen=True)
class CompiledView:
    """A view as one expression for the rows of a resource, and one for which resources count."""

    resource: str
    elements: ElementTree
    rows: Expression
    where: Expression
    columns: tuple[OutputColumn, ...]

    def sql(
        self,
        source: str,
        carried: Mapping[str, str] = MappingProxyType({}),
        dialect: Dialect | None = None,
    ) -> str:
        """Return the query over a source with the columns type and resource (JSON text).

        `carried` has columns of the source that come first in each row, under other names. The
        dialect is Spark's unless another is given.
        """
        return (dialect or SparkDialect()).query(
            resource=self.resource,
            tree=self.elements,
            rows=self.rows,
            where=self.where,
            source=source,
            carried=carried,
        )

    @property
    def column_names(self) -> list[str]:
        """Return the names of the columns, in order."""
        return [column.name for column in self.columns]


@dataclass(frozen=True)
class _Rows:
    """An expression for a list of structs, and the columns of these."""

    expression: Expression
    columns: tuple[OutputColumn, ...]


def compile_view(view: ViewDefinition, *, shallow: bool = False) -> CompiledView:
    """Compile a view; paths that cannot be evaluated are refused here, before any row is read."""
    if view.views:
        raise Unprocessable(f"{view.name} is a view of views, which is not possible here.")
    nested = max(map(_nested_repeats, view.selects), default=0)
    if nested > _MOST_NESTED_REPEATS:
        raise Unprocessable("The view has more than two repeats within each other.")
    shallow = shallow or nested > 1
    elements = ElementTree(view.resource, many=False)
    root = Value(Reference("r"), view.resource, tree=elements)
    scope = Scope(root, root, view.constants, row_index=number(0), shallow=shallow)
    rows = _select_rows(Select((), view.selects, ()), scope)
    _require_different_names(rows.columns)
    where: Expression = Constant(True, BOOLEAN)
    for node in view.where:
        where = operation("and", where, name_column(compile_condition(node, scope), "where"))
    # A schema of no element would not parse; the id is always there.
    elements.children.setdefault("id", ElementTree("id", many=False))
    return CompiledView(view.resource, elements, rows.expression, where, rows.columns)


def compile_parts(view: ViewDefinition, *, shallow: bool = False) -> tuple[CompiledView, ...]:
    """Compile a view of views, part by part; refuse parts whose columns differ."""
    parts = tuple(compile_view(part, shallow=shallow) for part in view.parts)
    for part in parts[1:]:
        if _shape(part.columns) != _shape(parts[0].columns):
            raise Unprocessable(
                f"The views of {view.name} have different columns: {part.resource}'s are not"
                f" {parts[0].resource}'s."
            )
    return parts


def _nested_repeats(select: Select) -> int:
    """Return how many repeats are within each other at most."""
    if len(select.repeat) > max(MAX_REPEAT_DEPTH):
        raise Unprocessable("The view has a repeat of more than three paths.")
    inner = max(map(_nested_repeats, (*select.selects, *select.unions)), default=0)
    return inner + bool(select.repeat)


def _require_different_names(columns: Sequence[OutputColumn]) -> None:
    # SQL does not tell `Id` from `id`.
    names = [column.name.lower() for column in columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise Unprocessable(f"The view names two columns alike: {', '.join(repeated)}.")


def _select_rows(select: Select, scope: Scope) -> _Rows:
    """Return the rows of one select for the focus of the scope."""
    if select.repeat:
        return _repeat_rows(select, scope)
    path = select.for_each or select.for_each_or_null
    if path is None:
        return _cross_rows(select, scope)
    focus = as_number(compile_path(path, scope))
    if focus.many:
        item, index = new_variable(), new_variable()
        inner_focus = replace(focus, expression=Reference(item), many=False)
        inner = _cross_rows(select, scope.with_focus(inner_focus, Reference(index)))
        each = Transform(focus.expression, item, index, inner.expression)
        rows: Expression = operation("flatten", each)
    else:
        inner = _cross_rows(select, scope.with_focus(focus, number(0)))
        rows = Choose(exists(focus), inner.expression)
    if select.for_each is not None:
        some = operation("coalesce", rows, _no_rows(inner.columns))
        return _Rows(some, inner.columns)
    nothing = Items((_null_row(select, inner.columns),))
    return _Rows(Choose(exists(focus), rows, nothing), inner.columns)


def _cross_rows(select: Select, scope: Scope) -> _Rows:
    """Return the cross product of a select's columns, its selects and its union."""
    parts = [_select_rows(inner, scope) for inner in select.selects]
    if select.unions:
        parts.append(_union_rows(select.unions, scope))
    own = [_column(column, scope) for column in select.columns]
    fields = [(column.name, value) for column, value in own]
    columns = [column for column, _ in own]
    names = [new_variable() for _ in parts]
    for name, part in zip(names, parts, strict=True):
        fields += [(column.name, FieldOf(Reference(name), column.name)) for column in part.columns]
        columns += part.columns
    rows: Expression = Items((Struct(tuple(fields)),))
    for name, part in reversed(list(zip(names, parts, strict=True))):
        rows = operation("flatten", Transform(part.expression, name, None, rows))
    return _Rows(rows, tuple(columns))


def _union_rows(branches: tuple[Select, ...], scope: Scope) -> _Rows:
    first, *others = (_select_rows(branch, scope) for branch in branches)
    rows = first.expression
    for other in others:
        if _shape(other.columns) != _shape(first.columns):
            raise Unprocessable(
                "The branches of a unionAll have different columns: "
                "names, types and order must be the same."
            )
        rows = operation("concat_lists", rows, other.expression)
    return _Rows(rows, first.columns)


def _shape(columns: Sequence[OutputColumn]) -> list[tuple[str, SqlType]]:
    return [(column.name, column.type) for column in columns]


def _repeat_rows(select: Select, scope: Scope) -> _Rows:
    limits = SHALLOW_REPEAT_DEPTH if scope.shallow else MAX_REPEAT_DEPTH
    rows = _descend_rows(select, scope, limits[len(select.repeat)])
    index_columns = {column.name for column in select.columns if _is_row_index(column.path)}
    if not index_columns:
        return rows
    # The rows are numbered over the whole traversal, so only when it is complete.
    row, index = new_variable(), new_variable()
    fields = tuple(
        (
            column.name,
            Cast(Reference(index), column.type)
            if column.name in index_columns
            else FieldOf(Reference(row), column.name),
        )
        for column in rows.columns
    )
    return _Rows(Transform(rows.expression, row, index, Struct(fields)), rows.columns)


def _descend_rows(select: Select, scope: Scope, depth: int) -> _Rows:
    foci = _compile_foci(select.repeat, scope)
    if not foci:
        # The type has none of these elements: nothing to descend into, whatever the resource.
        declared = tuple(
            OutputColumn(column.name, column.type or "string", sql_type(column.type or "string"))
            for column in select.columns
        )
        return _Rows(_no_rows(declared), declared)
    any_item = replace(foci[0], expression=Reference(new_variable()), many=False)
    columns = _cross_rows(select, scope.with_focus(any_item)).columns
    nothing = _no_rows(columns)
    parts = []
    for focus in foci:
        if depth == 0:
            part: Expression = Choose(exists(focus), Fail(REPEAT_TOO_DEEP))
        else:
            part = operation("flatten", _level_rows(select, scope, focus, depth))
        parts.append(operation("coalesce", part, nothing))
    rows = parts[0]
    for other in parts[1:]:
        rows = operation("concat_lists", rows, other)
    return _Rows(rows, columns)


def _level_rows(select: Select, scope: Scope, focus: Value, depth: int) -> Expression:
    """Return, for each item of one level, its rows and those below it."""

    def rows_of(item: Expression) -> Expression:
        inner = scope.with_focus(replace(focus, expression=item, many=False))
        below = _descend_rows(select, inner, depth - 1).expression
        return operation("concat_lists", _cross_rows(select, inner).expression, below)

    items = focus.expression if focus.many else as_list(focus)
    return transform(items, rows_of)


def _compile_foci(paths: tuple[Node, ...], scope: Scope) -> list[Value]:
    """Compile the paths that the focus has; `answer.item` is empty where there is no answer."""
    found = []
    for path in paths:
        try:
            found.append(compile_path(path, scope))
        except Unprocessable:
            continue
    return found


def _column(column: Column, scope: Scope) -> tuple[OutputColumn, Expression]:
    """Return a column and the expression of its value."""
    value = compile_path(column.path, scope)
    if not value.is_primitive:
        raise Unprocessable(f"The column {column.name!r} is not a primitive: name an element.")
    type_name = column.type or value.type
    kind: SqlType = sql_type(type_name)
    if value.written and type_name != "decimal":
        # A column of text shows the digits as they were written.
        value = replace(value, type="string", written=False)
    if not column.collection:
        expression: Expression = Cast(single_value(value), kind)
    else:
        kind = ListType(kind)
        expression = Cast(operation("coalesce", as_list(value), Items(())), kind)
    named = name_column(expression, column.name)
    return OutputColumn(column.name, type_name, kind), named


def _is_row_index(path: Node) -> bool:
    return isinstance(path, Variable) and path.name == "rowIndex"


def _no_rows(columns: Sequence[OutputColumn]) -> Expression:
    row = StructType(tuple((column.name, column.type) for column in columns))
    return Cast(Items(()), ListType(row))


def _null_row(select: Select, columns: Sequence[OutputColumn]) -> Expression:
    # The one row of an empty collection is its first.
    index_columns = {column.name for column in select.columns if _is_row_index(column.path)}
    fields = (
        (
            column.name,
            Cast(number(0), column.type) if column.name in index_columns else null(column.type),
        )
        for column in columns
    )
    return Struct(tuple(fields))
