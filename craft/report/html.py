"""Pages, whose text from elsewhere is text and no HTML."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from craft.runtime.plain_text import visible


def page_template(package: str) -> Template:
    """The template ``page.html.j2`` of a package. Every value that is put into it is escaped, and
    control characters, overrides of the direction of writing among them, are made visible."""
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
    )
    return environment.get_template("page.html.j2")


def _visible(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):  # Markup: what a macro made
        return visible(value)
    return value
