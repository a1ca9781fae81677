"""What the gates of a model say, by the codes of `$models`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ehr_portal.gateway.operations import MultiPartParameter
from ehr_portal.i18n import N_

__all__ = ["GATE_TITLES", "PREDICTOR_TITLES", "Gate", "parse_gate"]

GATE_TITLES = {
    "enough-outcomes": N_("Enough outcomes"),
    "better-than-comparators": N_("Better than the published scores"),
    "calibrated": N_("What it says comes true as often"),
    "subgroups": N_("No group of people is served worse than allowed"),
    "membership": N_("Nobody can tell whom it learnt from"),
    "no-leakage": N_("No sign that it knew the outcome"),
    "mase": N_("Smaller errors than last week's same day"),
    "relative-mae": N_("Smaller errors on the same days"),
    "coverage-80": N_("8 days of 10 lie within, as promised"),
    "coverage-95": N_("19 days of 20 lie within, as promised"),
}
# The names of published scores are the same in every language.
PREDICTOR_TITLES = {
    "model": N_("This model"),
    "prevalence": N_("The same figure for all"),
    "lace": "LACE",
    "hospital": N_("HOSPITAL (partial)"),
    "charlson": "Charlson",
    "news2": "NEWS2",
    "logistic": N_("Logistic regression"),
    "boosting": N_("Gradient boosting"),
    "cautious-boosting": N_("Gradient boosting with large leaves"),
    "elastic-net": N_("Logistic regression with an elastic net"),
}
_ATTACK_TITLES = {"loss": N_("by the loss"), "likelihood-ratio": N_("by the likelihood ratio")}
_MESSAGES = {
    "outcomes-enough": N_("At least %(minimum)s outcomes to judge by."),
    "outcomes-few": N_("Fewer than %(minimum)s outcomes to judge by."),
    "comparators": N_(
        "AUROC %(auroc)s. Above the others by: %(list)s. Lower ends above 0.5 and above 0 are"
        " needed."
    ),
    "calibration": N_(
        "Calibration slope %(slope)s, needed between %(low)s and %(high)s; in the large"
        " %(large)s, needed within %(limit)s of 0."
    ),
    "subgroups-unjudged": N_("No group has enough people to be judged."),
    "subgroups-served": N_("No group has an AUROC below %(limit)s."),
    "subgroups-below": N_("AUROC below %(limit)s: %(groups)s."),
    "membership-few": N_("Too few people for the attacks."),
    "membership": N_(
        "AUROC of attacks that guess who was learnt from: %(list)s. Chance is 0.5;"
        " no lower end may be above %(limit)s."
    ),
    "leakage-synthetic": N_(
        "AUROC %(auroc)s on synthetic data. Above %(limit)s the model would have found the rules"
        " of the generator, or the future, until that is explained."
    ),
    "leakage-real": N_("AUROC %(auroc)s on real data."),
    "mase": N_(
        "The highest mean absolute scaled error is %(worst)s, at %(hospital)s; below 1 is needed."
    ),
    "relative-mae": N_(
        "The highest error over that of last week's same day is %(worst)s, at %(hospital)s; below"
        " 1 is needed."
    ),
    "coverage": N_(
        "The %(nominal)s interval held %(held)s of the counts; %(low)s to %(high)s is needed."
    ),
    "coverage-outside": N_(
        "The %(nominal)s interval held %(held)s of the counts; %(low)s to %(high)s is needed."
        " Outside beyond chance at %(hospitals)s."
    ),
}
# Messages with a list of what the gate names, and what these are called.
_LISTS: Mapping[str, tuple[frozenset[str], Mapping[str, str]]] = {
    "comparators": (frozenset({"auroc"}), PREDICTOR_TITLES),
    "membership": (frozenset({"limit"}), _ATTACK_TITLES),
}


@dataclass(frozen=True)
class Gate:
    """A gate of a version: whether it is met, its English words, and their code with values."""

    name: str
    is_met: bool
    text: str
    message: str
    values: Mapping[str, str]

    @property
    def is_translated(self) -> bool:
        """Whether its words are in the reader's language."""
        return self.message in _MESSAGES

    @property
    def title(self) -> str:
        """What it is called, to be translated."""
        return GATE_TITLES.get(self.name, self.name)

    def say(self, translate: Callable[..., str], names: Mapping[str, str] | None = None) -> str:
        """Return its words, translated where its code is known; `names` of hospitals by id."""
        if not self.is_translated:
            return self.text
        values = {
            "hospital": "",
            "hospitals": "",
            "groups": "",
            **self.values,
            "list": self._list(translate),
        }
        for key in ("hospital", "hospitals"):
            ids = values[key].split(", ")
            values[key] = ", ".join((names or {}).get(each, each) for each in ids)
        return translate(_MESSAGES[self.message], **values)

    def _list(self, translate: Callable[..., str]) -> str:
        figures, titles = _LISTS.get(self.message, (frozenset(), {}))
        return ", ".join(
            f"{translate(titles.get(name, name))} {value}"
            for name, value in self.values.items()
            if name not in figures
        )


def parse_gate(gate: MultiPartParameter) -> Gate:
    """Read a gate of a version of `$models`."""
    values = {value.name: value.text for value in gate.parse_parts("value")}
    return Gate(gate.name, gate.met == "true", gate.text, gate.message, values)
