"""The gateway's port for the lineage of releases, filled with the register of research."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehr_fhir.errors import EhrError
from ehr_privacy.audit import TraceLine

if TYPE_CHECKING:
    from ehr_analytics.lineage import RegisterSteps

__all__ = ["RegisterLineage", "record_steps"]


@dataclass
class RegisterLineage:
    """The register of a data folder. It is opened only where it changed since it was read last."""

    data: Path
    _read_at: int = field(default=-1, init=False)

    def read_new(self) -> Sequence[Mapping[str, Any]]:
        """Return the records of events that the log was not told yet."""
        changed_at = self._changed_at()
        if changed_at is None or changed_at == self._read_at:
            return ()
        records = self._steps().read_new()
        if not records:
            self._read_at = changed_at
        return records

    def mark_recorded(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Keep that the log has these."""
        self._steps().mark_recorded(records)

    def read_all(self) -> Sequence[Mapping[str, Any]]:
        """Return the records of all events."""
        return () if self._changed_at() is None else self._steps().read_all()

    def describe(
        self, release: str
    ) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]], Sequence[TraceLine]]:
        """Return a release, the records of its steps, and what is still there of it."""
        from ehr_analytics.lineage import find_origin

        origin = find_origin(self._steps().register, release)
        return origin.release, origin.records, origin.checks

    def _changed_at(self) -> int | None:
        """Return when the register changed last; None where there is none."""
        try:
            return (self.data / "research" / "research.db").stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def _steps(self) -> RegisterSteps:
        from ehr_analytics.lineage import RegisterSteps
        from ehr_analytics.register import Register

        return RegisterSteps(Register(self.data))


def record_steps(data: Path) -> None:
    """Put the steps of a command on record; what fails here a gateway does within a second."""
    from ehr_cli.data_folder import gateway_settings
    from ehr_cli.model_decisions import record_decisions
    from ehr_cli.settings import load_settings
    from ehr_gateway.audit_log.lineage import record_new_lineage
    from ehr_gateway.database import open_database
    from ehr_gateway.oauth.offline_tokens import now_ms

    settings = gateway_settings(load_settings().override(data=data))
    with suppress(EhrError), closing(open_database(settings.database)) as database:
        record_new_lineage(database, RegisterLineage(data), now_ms)
        record_decisions(database, data, now_ms)
