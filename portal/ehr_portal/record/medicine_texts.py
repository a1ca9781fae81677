"""What a check of medicines found, in the reader's words."""

from __future__ import annotations

from ehr_portal.i18n import LANGUAGES, N_
from ehr_portal.record.display import (
    NO_TEXT,
    Phrase,
    Text,
    compose,
    concept_text,
    join_phrases,
    list_separator,
)
from ehr_portal.record.medicine_names import load_rules
from ehr_portal.record.medicine_rules import (
    ALLERGY,
    INTERACTION,
    SAME_CLASS,
    SAME_CODE,
    SAME_INGREDIENT,
    MedicineFinding,
)

_COLUMN_BY_LANGUAGE = {language.tag: column for column, language in enumerate(LANGUAGES)}


def group_name(group: str, language: str) -> Text:
    """Return what an ingredient or a class of medicine_rules.toml is called.

    >>> group_name("warfarin", "zh-Hant-HK").text, group_name("statin", "en").text
    ('華法林', 'statins')
    """
    rules, column = load_rules(), _COLUMN_BY_LANGUAGE[language]
    if group in rules["ingredients"]:
        # The English name is the entry's own.
        chinese = rules["ingredients"][group][2:]
        return Text(chinese[column - 1] if column else group, language)
    if group in rules["classes"]:
        return Text(rules["classes"][group]["text"][column], language)
    return Text(group, LANGUAGES[0].tag)


def finding_sentence(finding: MedicineFinding, language: str) -> Phrase:
    """Return what a finding says, in one short sentence."""
    groups = [group_name(group, language) for group in finding.ingredients]
    names = join_phrases(groups, list_separator(language), language)
    if finding.kind == ALLERGY:
        return _allergy_sentence(finding, names, language)
    if finding.kind == INTERACTION:
        row = next(row for row in load_rules()["interaction"] if row["id"] == finding.rule)
        effect = Text(row["text"][_COLUMN_BY_LANGUAGE[language]], language)
        together = join_phrases(groups, " + ", language)
        return compose(language, N_("%(medicines)s: %(effect)s"), medicines=together, effect=effect)
    if finding.rule == SAME_INGREDIENT:
        return compose(language, N_("The same ingredient more than once: %(name)s"), name=names)
    if finding.rule == SAME_CLASS and names.text:
        return compose(language, N_("More than one of the same group: %(name)s"), name=names)
    if finding.rule == SAME_CLASS:
        return compose(language, N_("More than one of the same group"))
    return compose(language, N_("The same medicine more than once"))


def _allergy_sentence(finding: MedicineFinding, names: Phrase, language: str) -> Phrase:
    allergy = finding.allergy or {}
    substance: Phrase | Text = concept_text(allergy.get("code"), language)
    if not substance.text:
        written = [concept_text(r.get("substance"), language) for r in allergy.get("reaction", ())]
        substance = next((text for text in written if text.text), NO_TEXT)
    message = {
        SAME_INGREDIENT: N_("Allergy to %(substance)s: the same ingredient"),
        SAME_CODE: N_("Allergy to %(substance)s: the same name or code"),
        SAME_CLASS: N_("Allergy to %(substance)s: of the same group, %(names)s"),
    }.get(finding.rule, N_("Allergy to %(substance)s: may react to %(names)s as well"))
    return compose(language, message, substance=substance, names=names)
