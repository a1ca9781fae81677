"""Published scores as pure functions: LACE, HOSPITAL, Charlson, eGFR, qSOFA, CHA2DS2-VASc.

NEWS2 is `ehr_fhir.news2`, which the portal shows too.

In: numbers of one stay or one round; `rows` takes frames of many.
Out: the points of each part. What is not known has no points and is never 0: without it there is a
lower bound in place of a total. What the published sources leave open is a setting with a name
(docs/reference/scores.md).
May import: nothing of this package. Only `rows` needs pandas.
"""
