"""What was done with the data: access history, audit log, worklist, quality of the lake.

In: AuditEvents, Tasks and MeasureReports. Out: one line for each visit, event, flag or check.
Pure: the search and its filters are the pages' business.
May import `record`, `gateway` and `i18n`.
"""
