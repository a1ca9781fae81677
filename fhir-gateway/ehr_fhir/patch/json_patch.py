"""JSON Patch (RFC 6902) on parsed JSON: numbers keep their digits, errors tell places, not values.

It knows nothing of FHIR but how an element's place is written. Whether the outcome is a valid
resource is asked by whoever stores it.

Kept beside jsonpatch 1.48, which neither keeps a number's digits nor bounds what `copy` makes, and
whose errors tell values of the record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import Invalid, TooCostly, Unprocessable
from ehr_fhir.json_text import check_depth, parse_array

__all__ = [
    "MAX_OPERATIONS",
    "Operation",
    "apply_json_patch",
    "parse_json_patch",
    "parse_operations",
]

MAX_OPERATIONS = 1000
# Chosen: characters and nodes that all `copy` operations of a patch may add.
_MAX_COPIED = 4_000_000
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_WRONG_ESCAPE = re.compile(r"~(?![01])")
_MEMBERS = {
    "add": ("value",),
    "copy": ("from",),
    "move": ("from",),
    "remove": (),
    "replace": ("value",),
    "test": ("value",),
}

Pointer = tuple[str, ...]


@dataclass(frozen=True)
class Operation:
    """One operation: its pointers are split into tokens, `number` is its place in the patch."""

    number: int
    op: str
    path: Pointer
    source: Pointer = ()
    # Any: JSON of every shape.
    value: Any = None


@dataclass
class _Document:
    """The document being patched, in a mutable cell: an empty pointer replaces the whole."""

    content: Any
    copied: int = 0


def parse_json_patch(body: bytes) -> tuple[Operation, ...]:
    """Return the operations of a patch document."""
    return parse_operations(parse_array(body))


def parse_operations(document: Sequence[Any]) -> tuple[Operation, ...]:
    """Parse every operation before any is applied (RFC 6902 §4)."""
    if len(document) > MAX_OPERATIONS:
        raise TooCostly(f"A patch may have at most {MAX_OPERATIONS} operations.")
    return tuple(_operation(number, item) for number, item in enumerate(document))


def apply_json_patch(content: Any, patch: Sequence[Operation]) -> Any:
    """Return a patched copy of the content.

    >>> move = parse_operations([{"op": "move", "from": "/a/0", "path": "/a/1"}])
    >>> apply_json_patch({"a": [1, 2]}, move)
    {'a': [2, 1]}
    """
    document = _Document(_copied(content))
    for operation in patch:
        _APPLY[operation.op](document, operation)
    check_depth(document.content)
    return document.content


def _operation(number: int, item: Any) -> Operation:
    if not isinstance(item, dict):
        raise _malformed(number, "must be an object")
    op = item.get("op")
    if not isinstance(op, str) or op not in _MEMBERS:
        raise _malformed(number, "must have an `op`: add, copy, move, remove, replace or test")
    for name in ("path", *_MEMBERS[op]):
        if name not in item:
            raise _malformed(number, f"must have a `{name}`")
    path = _pointer(number, item["path"])
    source = _pointer(number, item["from"]) if "from" in _MEMBERS[op] else ()
    if op == "move" and path[: len(source)] == source and path != source:
        raise _malformed(number, "moves a value into itself")
    return Operation(number, op, path, source, item.get("value"))


def _pointer(number: int, text: Any) -> Pointer:
    if not isinstance(text, str) or (text and text[0] != "/") or _WRONG_ESCAPE.search(text):
        raise _malformed(number, "has something that is not a JSON Pointer (RFC 6901)")
    tokens = text.split("/")[1:]
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def _add(document: _Document, operation: Operation) -> None:
    _put(document, operation, _copied(operation.value))


def _remove(document: _Document, operation: Operation) -> None:
    _take(document, operation, operation.path)


def _replace(document: _Document, operation: Operation) -> None:
    value = _copied(operation.value)
    if not operation.path:
        document.content = value
        return
    holder, key = _existing(document, operation, operation.path)
    holder[key] = value


def _move(document: _Document, operation: Operation) -> None:
    _put(document, operation, _take(document, operation, operation.source))


def _copy(document: _Document, operation: Operation) -> None:
    value = _value(document, operation, operation.source)
    # A value copied into itself again and again would grow without end.
    check_depth(value)
    document.copied += _weight(value)
    if document.copied > _MAX_COPIED:
        raise TooCostly("The patch copies too much.", expression=_operation_place(operation))
    _put(document, operation, _copied(value))


def _test(document: _Document, operation: Operation) -> None:
    if not _same(_value(document, operation, operation.path), operation.value):
        place = _place(document, operation.path)
        text = f"{_operation_place(operation)}: the test does not hold."
        raise Unprocessable(text, expression=place)


_APPLY: Mapping[str, Callable[[_Document, Operation], None]] = {
    "add": _add,
    "copy": _copy,
    "move": _move,
    "remove": _remove,
    "replace": _replace,
    "test": _test,
}


def _put(document: _Document, operation: Operation, value: Any) -> None:
    if not operation.path:
        document.content = value
        return
    holder = _value(document, operation, operation.path[:-1])
    key = operation.path[-1]
    if isinstance(holder, dict):
        holder[key] = value
    elif isinstance(holder, list):
        at = len(holder) if key == "-" else _index(key)
        if at is None or at > len(holder):
            raise _missing(document, operation, operation.path)
        holder.insert(at, value)
    else:
        raise _missing(document, operation, operation.path)


def _take(document: _Document, operation: Operation, path: Pointer) -> Any:
    if not path:
        raise Unprocessable(f"{_operation_place(operation)}: the whole cannot be taken away.")
    holder, key = _existing(document, operation, path)
    return holder.pop(key)


def _existing(document: _Document, operation: Operation, path: Pointer) -> tuple[Any, Any]:
    """Return the object or array that holds an existing value, and its key or index."""
    _value(document, operation, path)
    holder = _value(document, operation, path[:-1])
    return holder, path[-1] if isinstance(holder, dict) else int(path[-1])


def _value(document: _Document, operation: Operation, path: Pointer) -> Any:
    found, value = _follow(document.content, path)
    if found < len(path):
        raise _missing(document, operation, path)
    return value


def _follow(node: Any, path: Pointer) -> tuple[int, Any]:
    """Follow a pointer as far as it leads; return the number of tokens followed, and the value."""
    for number, token in enumerate(path):
        if isinstance(node, dict) and token in node:
            node = node[token]
            continue
        at = _index(token) if isinstance(node, list) else None
        if at is None or at >= len(node):
            return number, node
        node = node[at]
    return len(path), node


def _index(token: str) -> int | None:
    return int(token) if _INDEX.fullmatch(token) else None


def _same(left: Any, right: Any) -> bool:
    """Compare as RFC 6902 §4.6 does: numbers by value, objects whatever the order of their keys."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _copied(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copied(value) for key, value in node.items()}
    return [_copied(value) for value in node] if isinstance(node, list) else node


def _weight(node: Any) -> int:
    if isinstance(node, dict):
        return 1 + sum(len(key) + _weight(value) for key, value in node.items())
    if isinstance(node, list):
        return 1 + sum(map(_weight, node))
    return 1 + len(node) if isinstance(node, str) else 1


def _place(document: _Document, path: Pointer) -> str:
    """Return the existing part of a pointer as FHIRPath; the rest is the sender's own text."""
    node = document.content
    place = str(node.get("resourceType", "$this")) if isinstance(node, dict) else "$this"
    for token in path[: _follow(node, path)[0]]:
        place += f".{token.removeprefix('_')}" if isinstance(node, dict) else f"[{token}]"
        node = node[token] if isinstance(node, dict) else node[int(token)]
    return place


def _operation_place(operation: Operation) -> str:
    return f"Operation {operation.number} ({operation.op})"


def _missing(document: _Document, operation: Operation, path: Pointer) -> Unprocessable:
    place = _place(document, path)
    text = f"{_operation_place(operation)}: the path leads no further than {place}."
    return Unprocessable(text, expression=place, issue_code="not-found")


def _malformed(number: int, fault: str) -> Invalid:
    return Invalid(f"Operation {number} of the patch {fault}.", issue_code="structure")
