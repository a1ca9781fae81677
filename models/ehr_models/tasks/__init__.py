"""The prediction tasks: one folder each, whose `__init__` declares a `TASK`.

Whatever folder lies here is found by `ehr_models.registry`; nothing else names a task.
"""
