"""The process that follows the feed beside `ehr up --all`: `ehr lake follow`, saying less."""

from __future__ import annotations

import sys

from ehr_cli.commands.lake import follow_lake
from ehr_cli.server.companion import end_with_parent
from ehr_cli.settings import load_settings
from ehr_fhir.errors import EhrError


def main() -> int:
    """Follow until the server ends."""
    end_with_parent()
    try:
        settings = load_settings()
        # Not by the public address: that may be a proxy elsewhere.
        address = f"http://{settings.host}:{settings.port}"
        follow_lake(settings, address, on_change=lambda text: None)
    except EhrError as error:
        sys.stderr.write(f"The lake does not follow: {error}\n")
        return error.exit
    except Exception as error:
        # A foreign error's text may quote a record; its type cannot.
        sys.stderr.write(f"The lake does not follow: {type(error).__name__}.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
