"""Open data: sets that anybody may read, refreshed by a job, under the control of every release.

In: declarations that two people approved; visits of the trusted zone.
Out: files below `<data>/open-data` (CSV, JSON, dictionary, DCAT-AP catalogue), which the portal
serves without a log-in.
"""
