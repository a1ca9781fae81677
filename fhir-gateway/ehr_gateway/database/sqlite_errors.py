"""SQLite's errors as errors of the product: busy, interrupted, full, unwritable, or our own fault.

By SQLite's result codes, not by its texts: an error about the table `full_text` is no full disk.
"""

from __future__ import annotations

import sqlite3

from ehr_fhir.errors import Unavailable
from ehr_gateway.incidents import WRITES_REFUSED, Incidents

__all__ = ["DISK_FULL", "translate_error"]

DISK_FULL = "The disk of the database is full: this write was not made. Free some space."
_UNWRITABLE = "The database cannot be written: the file system is read-only, or not this user's."
_IO_ERROR = "The disk of the database does not work, or is full: SQLite reads or writes in vain."


def translate_error(error: sqlite3.OperationalError, incidents: Incidents) -> Exception:
    """Return what to raise in place of an error; the error itself when it is a fault of ours.

    What an operator must mend is logged, too.
    """
    # The lowest byte is the code proper, the rest says more of it.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable("The database is busy. Try again.")
    if code == sqlite3.SQLITE_INTERRUPT:
        return Unavailable("The request could not be answered in time. Try again.")
    text = {
        sqlite3.SQLITE_FULL: DISK_FULL,
        sqlite3.SQLITE_READONLY: _UNWRITABLE,
        sqlite3.SQLITE_CANTOPEN: _IO_ERROR,
        sqlite3.SQLITE_IOERR: _IO_ERROR,
    }.get(code)
    if text is None:
        return error
    incidents.begin(WRITES_REFUSED, text)
    return Unavailable(text)
