"""Learners: penalised logistic regression and gradient boosting, tuned by person, deterministic.

In: features as floats (NaN where unknown), outcomes and whose each row is. Out: a `PortableModel`,
which predicts and explains itself from plain files. `tuning` chooses within the rows it is given.
"""
