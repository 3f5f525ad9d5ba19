"""How values become a page: this folder's templates, with every value escaped."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(name: str, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """Return the template of that name, filled in, to be written as UTF-8."""
    # autoescape=True, since Jinja's own choice by suffix knows no ".html.jinja".
    environment = Environment(
        loader=PackageLoader("sdd_jax", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    html = environment.get_template(name).render(**values)
    # Names of files may hold bytes that are no text, which UTF-8 cannot carry.
    return html.encode("utf-8", "replace").decode("utf-8")


def data_uri(png: bytes) -> str:
    """Return a PNG file as the address of an image that is in the page itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
