"""What the lines of a trace say, by the codes of `$research-trace`."""

from __future__ import annotations

from ehr_portal.i18n import N_

__all__ = ["MESSAGES"]

MESSAGES = {
    "signed": N_("%(events)s events of %(log)s are signed for"),
    "no-leaf": N_("step %(step)s has no leaf in the log"),
    "other-project": N_("a step of another project stands here"),
    "other-record": N_("the leaf has the name of another record"),
    "not-signed": N_("its leaf is not signed for yet"),
    "changed": N_("what it says is not what was signed for: it was changed"),
    "same-step": N_("two leaves are step %(step)s of the register"),
    "late-step": N_("step %(step)s came into the log after step %(other)s"),
    "not-released": N_("no leaf says that %(run)s was released"),
    "released": N_("%(run)s was released by %(who)s at %(at)s"),
    "released-without-files": N_(
        "%(run)s was released by %(who)s at %(at)s; its leaf names no files"
    ),
    "other-files-released": N_("the files that were released are others"),
    "not-checked": N_("no leaf says that its checks passed"),
    "checked": N_("its checks passed at %(at)s under %(policy)s"),
    "checked-without-files": N_(
        "its checks passed at %(at)s under %(policy)s; its leaf names no files"
    ),
    "other-files-checked": N_("other files were checked than were released"),
    "not-run": N_("no leaf says that %(run)s ran"),
    "ran": N_("%(who)s ran it at %(at)s, code %(code)s"),
    "approved": N_("%(who)s approved its files at %(at)s"),
    "own-approval": N_("who ran it approved it"),
    "few-approvals": N_(
        "%(people)s people approved it between the checks and the release, of %(needed)s"
    ),
    "project-approved": N_(
        "%(who)s approved project %(project)s at %(at)s, application %(application)s"
    ),
    "few-project-approvals": N_(
        "no %(needed)s leaves of different people approve the project before the run"
    ),
    "different-applications": N_("its approvers approved different applications"),
    "project-state": N_("the project was %(state)s when it ran"),
    "no-tables": N_("the run does not say which tables it read"),
    "table-made": N_(
        "%(table)s version %(version)s was made of the feed of %(store)s up to position "
        "%(position)s and decision %(decision)s; digest %(digest)s"
    ),
    "table-passed": N_(
        "%(table)s version %(version)s was made of the feed of %(store)s up to position "
        "%(position)s and decision %(decision)s; it was passed through on the way to "
        "version %(next)s"
    ),
    "table-without-digest": N_(
        "%(table)s version %(version)s was made of the feed of %(store)s up to position "
        "%(position)s and decision %(decision)s; the run did not keep its digest"
    ),
    "other-table": N_(
        "%(table)s version %(version)s was another when it was read than when it was made"
    ),
    "table-unknown": N_("no leaf here says what made %(table)s %(version)s"),
    "rules": N_("the rules, keys and views: %(digest)s"),
    "event-restored": N_(
        "event %(event)s of the register is not there since a restore that is on record"
    ),
    "event-changed": N_("event %(event)s of the register was changed or removed"),
    "event-put-in": N_("event %(event)s of the register was changed or put in: it has no leaf"),
    "events-whole": N_("all %(events)s events of the register are as the log has them"),
    "file-gone": N_("%(file)s is not there any more"),
    "file-changed": N_("%(file)s is not what was released"),
    "file-same": N_("%(file)s is as released"),
    "files-same": N_("%(same)s of %(all)s files are as released"),
    "table-same": N_("%(table)s version %(version)s is as the run read it"),
    "table-changed": N_("%(table)s version %(version)s is not what the run read: it was changed"),
    "persons-erased": N_("%(places)s places in sets of persons were erased since the release"),
    "persons-same": N_("the sets of persons are those of the release"),
    "persons-changed": N_("a set of persons was changed"),
}
