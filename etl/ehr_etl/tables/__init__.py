"""Bronze, silver, quarantine, consent tables and deid: each refreshed from the one before.

In: landed files; quality rules; the consent rules of `ehr_privacy`.
Out: Delta tables under the lake's folder.
May import: change_feed, data_quality, lake, spark.
"""
