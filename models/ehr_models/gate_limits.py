"""The limits of the gates: those that hold where a task's file says nothing, each with a reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GateLimits"]


@dataclass(frozen=True)
class GateLimits:
    """The limits of a task's gates; `[gates]` of its file may set each."""

    # Collins et al. 2016 ask for 100 outcomes to validate a prediction model.
    minimum_outcomes: int = 100
    # The interval of the calibration slope must meet this range, that of the calibration in the
    # large come this near to 0. Chosen: a slope of 0.8 makes a risk of 40 % out of one of 45 %.
    slope: tuple[float, float] = (0.8, 1.25)
    in_the_large: float = 0.2
    # No group's AUROC may lie below with its whole interval. Chosen: a half is chance.
    subgroup_auroc: float = 0.55
    # The lower end of an attack's AUROC may not lie above: at a half the interval contains chance.
    membership_auroc: float = 0.5
    # On synthetic data more is treated as leakage until it is explained.
    leakage_auroc: float = 0.8
