"""Match a FHIR REST address to its route, by method and the shape of the path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from fastapi import Request
from fastapi.responses import Response

__all__ = ["AUDIT_LOG", "FHIR_PREFIX", "OPERATION_SIGN", "Endpoint", "Route", "RouteTable"]

FHIR_PREFIX = "/fhir"
# The first letter of a segment that names an operation (R4 §3.2.0).
OPERATION_SIGN = "$"
AUDIT_LOG = "AuditEvent"
# Variables for which a resource type stands.
_TYPE_VARIABLES = frozenset({"{resource_type}", "{owner}"})
# Takes the request and the values of the path's variables by name.
Endpoint = Callable[[Request, dict[str, str]], Awaitable[Response]]
# A segment of a path, or None where a value stands that no route names.
_Shape = tuple[str | None, ...]
# Shapes are few, since ids and other values count as one; strange requests do not push out the
# frequent ones for long. Chosen, not measured.
_CACHED_SHAPES = 1024


@dataclass(frozen=True)
class Route:
    """One address of the FHIR API: its methods, its path with `{variables}`, who answers.

    The path as it is written here names the route in the metrics.
    """

    methods: tuple[str, ...]
    path: str
    endpoint: Endpoint
    # Whether it serves an address only with search criteria, which name the resource.
    needs_query: bool = False
    segments: tuple[str, ...] = field(init=False)
    # The place of each variable among the segments, and its name.
    variables: tuple[tuple[int, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        segments = _segments(self.path)
        variables = tuple(
            (place, segment[1:-1])
            for place, segment in enumerate(segments)
            if segment.startswith("{")
        )
        object.__setattr__(self, "segments", tuple(segments))
        object.__setattr__(self, "variables", variables)

    def path_params(self, path: str) -> dict[str, str]:
        """Return the values of the variables in a path that this route matches."""
        segments = _segments(path)
        return {name: segments[place] for place, name in self.variables}

    def matches(self, shape: _Shape) -> bool:
        """Say whether a path of this shape is an address of the route."""
        return len(shape) == len(self.segments) and all(
            segment == part or (segment.startswith("{") and _is_value(part, segment))
            for segment, part in zip(self.segments, shape, strict=True)
        )


class RouteTable:
    """Routes in order: the first that matches both method and path answers.

    So a route with a fixed segment stands before those with a variable in its place.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        fixed = {
            segment
            for route in self.routes
            for segment in route.segments
            if not segment.startswith("{")
        }
        self._fixed_segments = frozenset(fixed | {""})
        # By shape, so that a request costs one look-up and not a walk through the table.
        self._find = lru_cache(_CACHED_SHAPES)(self._find_by_shape)

    def find(self, method: str, path: str) -> Route | None:
        """Return the route that answers a method at a path, None when there is none."""
        return self._find(method, self._shape(path))

    def allowed_methods(self, path: str, *, has_query: bool = False) -> tuple[str, ...]:
        """Return the methods that some route takes at a path; empty when there is no such address.

        >>> async def endpoint(request: Request, values: dict[str, str]) -> Response: ...
        >>> table = RouteTable([Route(("GET",), "/fhir/{type}", endpoint)])
        >>> table.allowed_methods("/fhir/Patient"), table.allowed_methods("/fhir/Patient/")
        (('GET',), ())
        """
        shape = self._shape(path)
        found = {
            method: None
            for route in self.routes
            if route.matches(shape) and (has_query or not route.needs_query)
            # What serves every type has the audit log among them, which is read at its own routes.
            if AUDIT_LOG not in shape[:1] or AUDIT_LOG in route.segments
            for method in route.methods
        }
        return tuple(found)

    def _shape(self, path: str) -> _Shape:
        fixed = self._fixed_segments
        return tuple(
            [
                part if part in fixed else OPERATION_SIGN if part[0] == OPERATION_SIGN else None
                for part in _segments(path)
            ]
        )

    def _find_by_shape(self, method: str, shape: _Shape) -> Route | None:
        return next(
            (route for route in self.routes if method in route.methods and route.matches(shape)),
            None,
        )


def _is_value(part: str | None, variable: str) -> bool:
    """Say whether a part of a shape may stand for a variable of a route.

    An empty segment is no value: `/fhir/Patient/` names nothing. Nor is a name with a sign, such as
    `_search` or that of an operation, which is no id; and `metadata` is no type.
    """
    if part is None:
        return True
    if variable in _TYPE_VARIABLES:
        return part[:1].isupper()
    return part[:1] not in ("", "_", OPERATION_SIGN)


def _segments(path: str) -> list[str]:
    """Return what stands between the slashes after `/fhir`."""
    return path.split("/")[2:]
