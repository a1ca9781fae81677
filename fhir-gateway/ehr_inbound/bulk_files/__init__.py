"""Bundles and NDJSON files into the store: resumable, with rejects by file and line.

In: paths.
Out: stored versions; a report of what was rejected and why.
May import: ehr_gateway and what is below.
"""
