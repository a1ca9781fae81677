"""Counts of requests by route and status, for an operator. No ids, no parameters."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from starlette.types import Scope


class Metrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._lock = Lock()

    def count(self, scope: Scope, status: int) -> None:
        """Count one request by the template of its route, never by its address."""
        route = getattr(scope.get("route"), "path", "none")
        with self._lock:
            self._counts[scope["method"], route, status] += 1

    def render(self) -> str:
        """Return the counts in Prometheus' text form.

        >>> Metrics().render()
        '# TYPE ehr_http_requests_total counter\\n'
        """
        with self._lock:
            counts = sorted(self._counts.items())
        lines = ["# TYPE ehr_http_requests_total counter"]
        for (method, route, status), number in counts:
            labels = f'method="{method}",route="{route}",status="{status}"'
            lines.append(f"ehr_http_requests_total{{{labels}}} {number}")
        return "\n".join(lines) + "\n"
