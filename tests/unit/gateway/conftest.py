"""The small gateway, for these tests."""

from tests.lib.gateway import furnished, house

__all__ = ["furnished", "house"]
