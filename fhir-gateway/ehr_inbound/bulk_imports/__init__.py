"""Imports that were asked for over HTTP: their files fetched, then loaded as bulk files are.

In: rows of imports, and the files that came with them.
Out: stored versions; rows that say how far each import is and what was refused.
May import: bulk_files, ehr_gateway and what is below.
"""
