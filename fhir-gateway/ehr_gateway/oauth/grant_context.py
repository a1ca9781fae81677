"""What goes with a permission beside its scopes: how the person logged in, and for which patient.

It is kept with the code and with the refresh tokens that follow, as JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["GrantContext"]


@dataclass(frozen=True)
class GrantContext:
    """The log-in (OpenID Connect) and the launch (SMART App Launch 2.2 §2.0.10)."""

    auth_time_ms: int = 0
    methods: tuple[str, ...] = ()
    session: str = ""
    nonce: str = ""
    patient: str | None = None
    encounter: str | None = None
    # Whether the app should show whose record is open; None when nothing was launched.
    need_patient_banner: bool | None = None
    intent: str | None = None

    def to_json(self) -> str:
        """Return what is stored."""
        return json.dumps(
            {name: value for name, value in asdict(self).items() if value not in (None, "")}
        )

    @classmethod
    def from_json(cls, text: str) -> GrantContext:
        """Read what was stored."""
        values = json.loads(text)
        return cls(**{**values, "methods": tuple(values.get("methods", ()))})
