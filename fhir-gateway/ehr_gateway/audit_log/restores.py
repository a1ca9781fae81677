"""Events that tell of a restore: which backup, where the log goes on, what was cut off."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

__all__ = ["RESTORE", "RESTORE_CONFIRMATION", "RestoreNote"]

# Interactions, as the log names them.
RESTORE = "restore"
RESTORE_CONFIRMATION = "restore-confirm"
_PREFIX = "restore?"


@dataclass(frozen=True)
class RestoreNote:
    """What an event of a restore says; its own leaf is the one after `size`.

    >>> note = RestoreNote("2026-11-28T11:00:00.000+00:00", size=40, carried=None, cut_from=52)
    >>> RestoreNote.from_query(note.query) == note
    True
    >>> note.sentence
    'The log was restored at leaf 40 from the backup of 2026-11-28T11:00:00.000+00:00: the events \
of leaf 40 to 51 that were signed for were cut off.'
    """

    # When the backup was made, ISO 8601.
    backup: str
    # How many events the log had before this one.
    size: int
    # How many of them were taken over from the log that was replaced; None where it was lost.
    carried: int | None
    # How many that log had at least, where more than are here; None where nobody knows of more.
    cut_from: int | None

    @property
    def query(self) -> str:
        """The text that the event holds."""
        values: dict[str, str | int] = {"backup": self.backup, "size": self.size}
        if self.carried is not None:
            values["carried"] = self.carried
        if self.cut_from is not None:
            values["cut"] = self.cut_from
        return f"{_PREFIX}{urlencode(values)}"

    @classmethod
    def from_query(cls, query: str) -> RestoreNote | None:
        """Read an event's text; None where it is of no restore."""
        if not query.startswith(_PREFIX):
            return None
        values = {name: found[0] for name, found in parse_qs(query[len(_PREFIX) :]).items()}
        try:
            carried = int(values["carried"]) if "carried" in values else None
            cut = int(values["cut"]) if "cut" in values else None
            return cls(values["backup"], int(values["size"]), carried, cut)
        except (KeyError, ValueError):
            return None

    @property
    def sentence(self) -> str:
        """What happened, for whoever verifies the log."""
        begin = f"The log was restored at leaf {self.size} from the backup of {self.backup}"
        if self.cut_from is not None:
            return (
                f"{begin}: the events of leaf {self.size} to {self.cut_from - 1} that were signed "
                "for were cut off."
            )
        if self.carried is not None:
            return f"{begin}; of the log that it replaces, {self.carried} events were taken over."
        return f"{begin}: what was written after that backup was cut off, how much is not known."
