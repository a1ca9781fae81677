"""The context of a grant: the authentication, and the patient or encounter of a launch.

Stored as JSON with the code, and with the refresh tokens issued from it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["GrantContext"]


@dataclass(frozen=True)
class GrantContext:
    """Authentication (OpenID Connect) and launch context (SMART App Launch 2.2 §2.0.10)."""

    auth_time_ms: int = 0
    methods: tuple[str, ...] = ()
    session: str = ""
    nonce: str = ""
    patient: str | None = None
    encounter: str | None = None
    # Whether the app should show whose record is open; None when nothing was launched.
    need_patient_banner: bool | None = None
    intent: str | None = None
    # References to what else was open (SMART App Launch 2.2 §2.0.10.3), such as a report.
    fhir_context: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the context as JSON, without empty fields."""
        return json.dumps(
            {name: value for name, value in asdict(self).items() if value not in (None, "", ())}
        )

    @classmethod
    def from_json(cls, text: str) -> GrantContext:
        """Read a stored context."""
        values = json.loads(text)
        lists = {name: tuple(values.get(name, ())) for name in ("methods", "fhir_context")}
        return cls(**{**values, **lists})
