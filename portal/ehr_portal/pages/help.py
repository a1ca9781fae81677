"""Help: what the words of the pages mean, topic by topic; for whoever reads, logged in or not."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_portal.web.help_topics import help_topics, topic_by_key
from ehr_portal.web.roles import AnyRequest

router = APIRouter()


@router.get("/help")
def show_topics(request: AnyRequest) -> Response:
    """Show every topic."""
    return request.render("help.html", topics=help_topics(request.language), topic=None)


@router.get("/help/{key}")
def show_topic(request: AnyRequest, key: str) -> Response:
    """Show one topic with its words."""
    topics = help_topics(request.language)
    topic = topic_by_key(key, topics)
    if topic is None:
        raise NotFound("There is no such topic.")
    return request.render("help.html", topics=topics, topic=topic)
