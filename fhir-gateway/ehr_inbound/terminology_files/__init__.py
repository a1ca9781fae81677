"""Code systems as their publishers hand them out, read as concepts to load; none is shipped.

In: a file or a folder of a release that the installation has a licence for.
Out: a header, and the concepts with what is above each.
"""

from __future__ import annotations

from ehr_inbound.terminology_files.release import FORMATS, Release, read_release

__all__ = ["FORMATS", "Release", "read_release"]
