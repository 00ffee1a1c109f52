"""HTML pages in which text from other sources is escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from craft.runtime.plain_text import visible


def page_template(package: str) -> Template:
    """Load the template ``page.html.j2`` of a package.

    Every value inserted into it is escaped, and control characters, including bidirectional
    overrides, are made visible.
    """
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
    )
    return environment.get_template("page.html.j2")


def _visible(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):  # Markup is a macro's output
        return visible(value)
    return value
