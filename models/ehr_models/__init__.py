"""Models: prediction tasks, evaluation beside comparators, registry, scoring.

In: the lake's gold views (training); the same views with identities (scoring).
Out: runs and registered models in MLflow; RiskAssessments at the gateway.
Each task is a folder of `tasks/` with one `Task`; all else here serves every task alike.
"""
