"""Faults put into a resource, one at a time, by chance from a seed."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

# Any: JSON of every shape.
Holder = Any
# The keys and indexes that lead to an element.
Place = tuple[str | int, ...]
_LEFT_OUT = frozenset({"resourceType", "id", "meta", "text", "contained", "extension"})


class Fault(NamedTuple):
    """A resource with one fault: of which kind, and the path of the element that has it."""

    kind: str
    path: str
    resource: dict[str, Any]


def make_faults(resource: Mapping[str, Any], seed: str, most: int) -> Iterator[Fault]:
    """Yield copies of a resource with a fault each, of kinds that fit it."""
    chance = random.Random(seed)
    fitting = {
        kind: fits
        for kind in _KINDS
        if (fits := [place for place in _places(resource) if _fits(kind, resource, place)])
    }
    for kind in chance.sample(sorted(fitting), min(most, len(fitting))):
        place = chance.choice(fitting[kind])
        changed = copy.deepcopy(dict(resource))
        _KINDS[kind].change(_holder(changed, place), place[-1])
        yield Fault(kind, _path(resource, place), changed)


def _fits(kind: str, resource: Mapping[str, Any], place: Place) -> bool:
    return _KINDS[kind].fits(_holder(resource, place), place[-1])


def _holder(resource: Any, place: Place) -> Any:
    for key in place[:-1]:
        resource = resource[key]
    return resource


def _path(resource: Mapping[str, Any], place: Place) -> str:
    steps = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return f"{resource['resourceType']}{''.join(steps)}"


class _Kind(NamedTuple):
    fits: Callable[[Holder, Any], bool]
    change: Callable[[Holder, Any], None]


def _places(node: Any, above: Place = ()) -> Iterator[Place]:
    """Yield every element outside of narratives, extensions, profiles and contained resources."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in _LEFT_OUT and key[0] != "_":
                yield (*above, key)
                yield from _places(value, (*above, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _places(value, (*above, index))


def _set(value: Any) -> Callable[[Holder, Any], None]:
    def change(holder: Holder, key: Any) -> None:
        holder[key] = value

    return change


def _remove(holder: Holder, key: Any) -> None:
    del holder[key]


def _is(holder: Holder, key: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(holder[key], kind)


def _is_top(holder: Holder, key: Any) -> bool:
    return "resourceType" in holder


def _is_date(holder: Holder, key: Any) -> bool:
    value = holder[key]
    return isinstance(value, str) and value[:2] == "20" and value[4:5] == "-"


def _add_unknown(holder: Holder, key: Any) -> None:
    holder["unknownElement"] = "x"


def _reverse(holder: Holder, key: Any) -> None:
    holder[key] = {"start": "2021-01-01", "end": "2020-01-01"}


def _empty(holder: Holder, key: Any) -> None:
    holder[key] = {}


_KINDS: Mapping[str, _Kind] = {
    "element removed": _Kind(_is_top, _remove),
    "text where an object is": _Kind(lambda h, k: _is(h, k, dict), _set("x")),
    "number where text is": _Kind(lambda h, k: _is(h, k, str), _set(1)),
    "object where a list is": _Kind(lambda h, k: _is(h, k, list), _set({})),
    "unknown element": _Kind(lambda h, k: True, _add_unknown),
    "empty object": _Kind(lambda h, k: _is(h, k, dict), _empty),
    "wrong status": _Kind(lambda h, k: k == "status" and _is(h, k, str), _set("no-such-status")),
    "impossible date": _Kind(_is_date, _set("2020-02-31")),
    "end before start": _Kind(lambda h, k: k == "period" and _is(h, k, dict), _reverse),
    "reference to another type": _Kind(
        lambda h, k: k == "reference" and _is(h, k, str), _set("Basic/x")
    ),
    "reference to nothing contained": _Kind(
        lambda h, k: k == "reference" and _is(h, k, str), _set("#none")
    ),
    "other code": _Kind(
        lambda h, k: k == "code" and _is(h, k, str) and "system" in h, _set("no-such-code")
    ),
    "other system": _Kind(lambda h, k: k == "system" and "code" in h, _set("http://e.org/x")),
    "code removed": _Kind(lambda h, k: k == "code" and "system" in h, _remove),
}
