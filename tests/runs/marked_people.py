"""Drawn faces of six people, of whom three have a mark: smoke's config, overridden."""

from typing import Any

MARKED_PEOPLE: dict[str, Any] = {
    "data": {
        "source": "shortcut",
        "of": "synthetic",
        "num_identities": 6,
        "num_images": 10,
        "num_marked": 3,
    }
}
