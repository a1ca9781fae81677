"""ViewDefinition to one Spark SQL query.

The rows of a resource are one SQL expression: an array of structs, built by higher-order functions
and unfolded at the end. Nothing is joined or shuffled, and no row passes through Python.

    select with columns         array(named_struct(...))
    sibling selects             the cross product, by nested transform()
    forEach                     flatten(transform(collection, one -> rows of one))
    forEachOrNull               as forEach, and one row of NULLs for an empty collection
    unionAll                    concat(rows, rows)
    repeat                      forEach, unrolled; a resource nested deeper than that is an error
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ehr_etl.sql_on_fhir.definition import Column, Select, ViewDefinition
from ehr_etl.sql_on_fhir.paths import Scope, compile_condition, compile_path
from ehr_etl.sql_on_fhir.spark_types import spark_type
from ehr_etl.sql_on_fhir.values import (
    SchemaField,
    SqlValue,
    exists_sql,
    new_variable,
    single_value,
)
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Node, Variable

MAX_REPEAT_DEPTH = {1: 12, 2: 5}
TOO_DEEP = "ehr:repeat-too-deep"


@dataclass(frozen=True)
class CompiledView:
    """SQL over a source that has the columns type and resource (JSON text)."""

    resource: str
    schema: str
    rows: str
    where: str
    columns: tuple[tuple[str, str], ...]

    def sql(self, source: str) -> str:
        """Return the query over a table, view or `delta.` path."""
        return (
            f"SELECT inline({self.rows}) FROM"  # noqa: S608 - made of checked names alone
            f" (SELECT from_json(resource, '{self.schema}') AS r FROM {source}"
            f" WHERE type = '{self.resource}') WHERE {self.where}"
        )


@dataclass(frozen=True)
class _Rows:
    """SQL for an array of structs, and the names and Spark types of their columns."""

    sql: str
    columns: tuple[tuple[str, str], ...]


def compile_view(view: ViewDefinition) -> CompiledView:
    """Compile a view; paths that cannot be evaluated are refused here, before any row is read."""
    read = SchemaField(view.resource, many=False)
    root = SqlValue("r", view.resource, field=read)
    scope = Scope(root, root, view.constants)
    rows = _select_rows(Select((), view.selects, ()), scope)
    names = [name for name, _ in rows.columns]
    if len(set(names)) != len(names):
        raise Unprocessable("The view names two columns alike.")
    where = " AND ".join(compile_condition(node, scope) for node in view.where) or "true"
    # A schema of no element would not parse; the id is always there.
    read.children.setdefault("id", SchemaField("id", many=False))
    return CompiledView(view.resource, read.columns(), rows.sql, where, rows.columns)


def _select_rows(select: Select, scope: Scope) -> _Rows:
    """Return the rows of one select for the focus of the scope."""
    if select.repeat:
        return _repeated(select, scope)
    path = select.for_each or select.for_each_or_null
    if path is None:
        return _product(select, scope)
    focus = compile_path(path, scope)
    if focus.many:
        item, index = new_variable(), new_variable()
        inner = _product(select, scope.with_focus(replace(focus, sql=item, many=False), index))
        rows = f"flatten(transform({focus.sql}, ({item}, {index}) -> {inner.sql}))"
    else:
        inner = _product(select, scope.with_focus(focus, "0"))
        rows = f"CASE WHEN {exists_sql(focus)} THEN {inner.sql} END"
    if select.for_each is not None:
        return _Rows(f"coalesce({rows}, {_no_rows(inner)})", inner.columns)
    nothing = f"array({_null_row(select, inner)})"
    return _Rows(f"CASE WHEN {exists_sql(focus)} THEN {rows} ELSE {nothing} END", inner.columns)


def _product(select: Select, scope: Scope) -> _Rows:
    """Return the cross product of a select's columns, its selects and its union."""
    parts = [_select_rows(inner, scope) for inner in select.selects]
    if select.unions:
        parts.append(_union(select.unions, scope))
    own = [(column, *_column(column, scope)) for column in select.columns]
    fields = [f"'{column.name}', {sql}" for column, sql, _ in own]
    columns = [(column.name, kind) for column, _, kind in own]
    names = [new_variable() for _ in parts]
    for name, part in zip(names, parts, strict=True):
        fields += [f"'{column}', {name}.`{column}`" for column, _ in part.columns]
        columns += part.columns
    sql = f"array(named_struct({', '.join(fields)}))"
    for name, part in reversed(list(zip(names, parts, strict=True))):
        sql = f"flatten(transform({part.sql}, {name} -> {sql}))"
    return _Rows(sql, tuple(columns))


def _union(branches: tuple[Select, ...], scope: Scope) -> _Rows:
    parts = [_select_rows(branch, scope) for branch in branches]
    if any(part.columns != parts[0].columns for part in parts):
        raise Unprocessable(
            "The branches of a unionAll have different columns: "
            "names, types and order must be the same."
        )
    return _Rows(f"concat({', '.join(part.sql for part in parts)})", parts[0].columns)


def _repeated(select: Select, scope: Scope) -> _Rows:
    depth = MAX_REPEAT_DEPTH.get(len(select.repeat), 4)
    rows = _descend(select, scope, depth)
    indexed = {column.name for column in select.columns if _is_row_index(column.path)}
    if not indexed:
        return rows
    # The rows are numbered over the whole traversal, so only when it is complete.
    row, index = new_variable(), new_variable()
    fields = ", ".join(
        f"'{name}', " + (f"CAST({index} AS {kind})" if name in indexed else f"{row}.`{name}`")
        for name, kind in rows.columns
    )
    return _Rows(f"transform({rows.sql}, ({row}, {index}) -> named_struct({fields}))", rows.columns)


def _descend(select: Select, scope: Scope, depth: int) -> _Rows:
    foci = _foci(select.repeat, scope)
    if not foci:
        # The type has none of these elements: nothing to descend into, whatever the resource.
        declared = tuple(
            (column.name, spark_type(column.type or "string")) for column in select.columns
        )
        return _Rows(_no_rows(_Rows("", declared)), declared)
    parts = []
    columns = _product(
        select, scope.with_focus(replace(foci[0], sql=new_variable(), many=False))
    ).columns
    for focus in foci:
        if depth == 0:
            parts.append(f"CASE WHEN {exists_sql(focus)} THEN raise_error('{TOO_DEEP}') END")
            continue
        item = new_variable()
        inner = scope.with_focus(replace(focus, sql=item, many=False))
        below = _descend(select, inner, depth - 1).sql
        rows = f"concat({_product(select, inner).sql}, {below})"
        collection = focus.sql if focus.many else f"array_compact(array({focus.sql}))"
        parts.append(f"flatten(transform({collection}, {item} -> {rows}))")
    empty = _no_rows(_Rows("", columns))
    if depth == 0:
        return _Rows(f"coalesce({', '.join(parts)}, {empty})", columns)
    return _Rows(f"concat({', '.join(f'coalesce({p}, {empty})' for p in parts)})", columns)


def _foci(paths: tuple[Node, ...], scope: Scope) -> list[SqlValue]:
    """Compile the paths that the focus has; `answer.item` is empty where there is no answer."""
    found = []
    for path in paths:
        try:
            found.append(compile_path(path, scope))
        except Unprocessable:
            continue
    return found


def _column(column: Column, scope: Scope) -> tuple[str, str]:
    """Return a column's SQL and Spark type."""
    value = compile_path(column.path, scope)
    if not value.is_primitive:
        raise Unprocessable(f"The column {column.name!r} is not a primitive: name an element.")
    kind = spark_type(column.type or value.type)
    if not column.collection:
        return f"CAST({single_value(value)} AS {kind})", kind
    listed = value.sql if value.many else f"array_compact(array({value.sql}))"
    return f"CAST(coalesce({listed}, array()) AS ARRAY<{kind}>)", f"ARRAY<{kind}>"


def _is_row_index(path: Node) -> bool:
    return isinstance(path, Variable) and path.name == "rowIndex"


def _no_rows(rows: _Rows) -> str:
    fields = ", ".join(f"`{name}`: {kind}" for name, kind in rows.columns)
    return f"CAST(array() AS ARRAY<STRUCT<{fields}>>)"


def _null_row(select: Select, rows: _Rows) -> str:
    # The one row of an empty collection is its first.
    indexed = {column.name for column in select.columns if _is_row_index(column.path)}
    fields = ", ".join(
        f"'{name}', CAST({'0' if name in indexed else 'NULL'} AS {kind})"
        for name, kind in rows.columns
    )
    return f"named_struct({fields})"
