"""Erasure of patients from the lake, and the scan of a whole data folder that proves it.

In: keyed hashes of patients, from the change feed; the texts that a scan looks for.
Out: tables, old files, logs and statistics without the patients; what was scanned and found.
May import: tables, gold, change_feed, maintenance, lake.
"""
