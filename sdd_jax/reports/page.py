"""One self-contained HTML page that explains decisions to people who do not program.

Styles and images stand inside the page: it loads nothing, runs no script, and can be
mailed as one file, which grows by all images of every record. Each record is a line
of `records.jsonl` and its images:

    index, image (a file's name), label (None: not known), predicted, probability,
    correct (None: not known), rivals [{name, probability}], scale (F),
    amplification (alpha): no rivals and None where SDD is not shown,
    methods [METHOD], of which the first is tested, is_flat {METHOD: bool}, fraction,
    files {KEY: path},
    outcomes {FILL: {SCHEME: {predicted, probability, confidence_drop,
    prediction_changed}}} with SCHEME deletion or retention,
    images {KEY: PNG bytes} with KEY image, each METHOD, and, for each FILL of the
    outcomes, removed and kept (black) or removed_FILL and kept_FILL,
    rival_images {name: PNG bytes}, which may lack any name.

Probabilities and the fraction lie in [0, 1], confidence drops are in percent. Names are
shown as they are and escaped, whatever they hold.
"""

from typing import Any

import numpy as np

from sdd_jax.reports import method_words, templates
from sdd_jax.reports.overlay import overlay, png


def render(title: str, records: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    """Return the page as HTML, to be written as UTF-8.

    Args:
        title: the page's heading.
        records: one for each image, in the order of the page.
        summary: num_identities, fraction, methods as in every record, and versions
            {name: version}; these and all other items are listed at the end of the
            page.
    """
    known = [record["correct"] for record in records if record["correct"] is not None]
    return templates.render(
        "page.html.jinja",
        {"percent": _percent, "data_uri": templates.data_uri},
        title=title,
        records=records,
        summary=summary,
        num_known=len(known),
        num_right=sum(known),
        legend=_legend(),
        methods=[method_words.shown(name) for name in summary["methods"]],
    )


def _percent(probability: float) -> str:
    """Return e.g. "97.3 %", never claiming certainty that rounding alone made."""
    figure = f"{100 * probability:.1f}"
    bounds = {"100.0": "over 99.9", "0.0": "under 0.1"}
    return bounds.get(figure, figure) + "\N{NO-BREAK SPACE}%"


def _legend() -> bytes:
    """Return the colours from least to most important, as they look over mid-grey."""
    ramp = np.tile(np.linspace(0, 1, 256), (16, 1))
    return png(overlay(np.full((*ramp.shape, 3), 128, np.uint8), ramp))
