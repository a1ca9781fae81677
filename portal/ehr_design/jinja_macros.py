"""What a Jinja environment needs to use the design's macros: their loader and addresses."""

from __future__ import annotations

from functools import partial

import jinja2

from ehr_design.static_files import static_path


def add_design(environment: jinja2.Environment, static_prefix: str) -> None:
    """Let templates import `design/frame.html` and `design/display.html`.

    `static_prefix` is where the static files are served, such as "/static".
    """
    if environment.loader is None:
        raise ValueError("The environment has no loader of its own.")
    macros = jinja2.PrefixLoader({"design": jinja2.PackageLoader("ehr_design")})
    environment.loader = jinja2.ChoiceLoader([environment.loader, macros])
    environment.globals["static"] = partial(static_path, static_prefix)
