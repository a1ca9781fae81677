"""What makes a generated test draw the same examples on each run, whatever else was imported."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants


def leave_constants_out(profile: str) -> None:
    """Have examples drawn without the constants of the product's modules, in one profile.

    Hypothesis mixes the constants of every local module that is loaded into what it draws. A test
    run alone, or after a change far from it, would then meet other examples, in spite of
    `derandomize`. No setting of Hypothesis turns this off (6.170).
    """
    collect = providers._get_local_constants

    def collect_unless_same() -> Constants:
        if settings.get_current_profile_name() == profile:
            return providers._local_constants
        return collect()

    providers._get_local_constants = collect_unless_same
