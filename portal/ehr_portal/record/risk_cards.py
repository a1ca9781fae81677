"""What a model says of a patient, as short texts for screens of others (CDS Hooks)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehr_portal.i18n import LANGUAGES, N_
from ehr_portal.record.display import Text, compose, list_separator

__all__ = ["RiskNotice", "RiskReason", "describe_risk"]

# Reasons that a card names in each direction. Chosen: what is read at a glance.
_MOST_REASONS = 3
# A reason that moves the odds by less than one in twenty is none.
_LEAST_LOG_ODDS = 0.05


@dataclass(frozen=True)
class RiskReason:
    """Words, and what it adds to the log-odds; `is_absent`: it is what the record lacks."""

    text: str
    log_odds: float
    is_absent: bool = False


@dataclass(frozen=True)
class RiskNotice:
    """A sentence, and Markdown below it."""

    summary: str
    detail: str


def describe_risk(
    title: str,
    probability: float,
    reasons: Sequence[RiskReason],
    *,
    version: int,
    unknown: int,
    incomplete: Sequence[str],
    unknown_codes: int = 0,
    is_partial: bool,
    language: str,
) -> RiskNotice:
    """Return what a score says.

    `unknown` is how many of what the model reads is not known of this patient, `incomplete` what of
    the record could not be used, in English, `unknown_codes` how many of its codes the model never
    learnt of. `is_partial`: the reader may not see all of the
    record, and the model did not either.
    """
    share = str(round(probability * 100))
    summary = compose(
        language, N_("%(title)s: about %(share)s of 100 people like this"), title=title, share=share
    )
    lines = []
    raising, lowering = (
        [_word(one, language) for one in reasons if sign * one.log_odds >= _LEAST_LOG_ODDS]
        for sign in (1, -1)
    )
    separator = list_separator(language)
    if raising:
        lines.append(
            compose(
                language,
                N_("Raises it: %(reasons)s"),
                reasons=separator.join(raising[:_MOST_REASONS]),
            )
        )
    if lowering:
        lines.append(
            compose(
                language,
                N_("Lowers it: %(reasons)s"),
                reasons=separator.join(lowering[:_MOST_REASONS]),
            )
        )
    if is_partial:
        lines.append(
            compose(
                language,
                N_("A part of this record is not shown to you, and the model did not read it."),
            )
        )
    if incomplete:
        lines.append(
            compose(
                language,
                N_("Some of the record could not be used: %(reasons)s"),
                reasons=Text("; ".join(incomplete), LANGUAGES[0].tag),
            )
        )
    if unknown:
        lines.append(
            compose(
                language,
                N_("Not known, and taken as usual: %(count)s of what the model reads"),
                count=str(unknown),
            )
        )
    if unknown_codes:
        lines.append(
            compose(
                language,
                N_("Codes of this record that the model does not know: %(count)s"),
                count=str(unknown_codes),
            )
        )
    lines.append(
        compose(
            language,
            N_(
                "Version %(version)s of the model. It supports your judgement, and does not"
                " replace it."
            ),
            version=str(version),
        )
    )
    detail = "\n\n".join(line.text for line in lines)
    return RiskNotice(summary.text, detail)


def _word(reason: RiskReason, language: str) -> str:
    if not reason.is_absent:
        return reason.text
    return compose(language, N_("%(what)s: none on record"), what=reason.text).text
