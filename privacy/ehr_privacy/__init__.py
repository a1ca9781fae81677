"""Decisions about people: consent, de-identification, disclosure control. Pure.

The public API is in the sub-packages `consent`, `deid` and in the module `disclosure`.
"""

__all__ = ["consent"]
