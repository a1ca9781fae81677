"""The small gateway, for these tests."""

from tests.lib.gateway import furnished, house, houses

__all__ = ["furnished", "house", "houses"]
