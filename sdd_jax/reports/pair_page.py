"""The report on a pair: what was compared, what came out, and what that is worth.

It says no probability that two images are of one person: only how much more often a
score like this comes from one person than from two.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sdd_jax.reports import templates

# What each map shows, in words for people who do not program.
MAP_WORDS = {
    "similarity": "What adds up to the score, cell by cell, exactly.",
    "fine_similarity": "The same, placed more finely; its values do not add up.",
    "distance": "What the two differ in, cell by cell, exactly.",
    "fine_distance": "The same, placed more finely; its values do not add up.",
    "pair_sdd": "What is like the other image and unlike the nearest other people.",
    "occlusion_of_both": "Where covering both images makes them more alike: the "
    "network asked 98 times, to check the maps of differences.",
}
MAP_NAMES = {
    "similarity": "Where they agree",
    "fine_similarity": "Where they agree, finely",
    "distance": "Where they differ",
    "fine_distance": "Where they differ, finely",
    "pair_sdd": "Why this person and not others (SDD)",
    "occlusion_of_both": "Where they differ, by covering both",
}
MEASURE_NAMES = {
    "eye_distance": "distance of the eyes, pixels of the photograph",
    "sharpness": "sharpness of the aligned image",
    "norm": "length of the embedding",
    "yaw": "turned sideways, in eye distances",
    "pitch": "nose between eyes (0) and mouth (1)",
    "roll": "tilt in the photograph, degrees",
}


def statement(record: Mapping[str, Any]) -> list[str]:
    """Return what the score is worth, in sentences.

    The first ones say what speaks against it: an image that is unlike nearly all those
    that were measured, or two images that may be one photograph.
    """
    ratio, calibration = record["likelihood_ratio"], record["calibration"]
    lines = []
    if record["insufficient"]:
        names = ", ".join(MEASURE_NAMES[name] for name in record["insufficient"])
        lines.append(
            f"Insufficient: an image is worse than 99 % of the images that the score "
            f"was measured on ({names}), so what follows may not hold for it."
        )
    beyond = [x for x in record["outside"] if x not in record["insufficient"]]
    if beyond:
        names = ", ".join(MEASURE_NAMES[name] for name in beyond)
        lines.append(
            f"Not measured on such images: one lies outside what 98 % of the measured "
            f"ones have ({names})."
        )
    if record["may_be_one_photograph"]:
        lines.append(
            "Perhaps one photograph: the score is higher than that of every measured "
            "pair of one person, so the two may be copies; then it says nothing."
        )
    value, low, high = ratio["value"], ratio["low"], ratio["high"]
    first, second = "one person", "two different people"
    if value < 1:
        value, low, high = 1 / value, 1 / high, 1 / low
        first, second = second, first
    between = f"95 % interval {times(low)} to {times(high)}"
    if times(low) == times(high):
        between = "every draw of these people ends at this bound"
    bound = ", the most that so many people support," if ratio["at_bound"] else ""
    lines.append(
        f"A score like this is about {times(value)} times{bound} as frequent between "
        f"two images of {first} as between images of {second} ({between})"
    )
    lines[-1] += (
        f", measured on {calibration['num_genuine']:,} genuine and "
        f"{calibration['num_impostor']:,} impostor pairs of "
        f"{calibration['num_people']} other people."
    )
    return lines


def times(value: float) -> str:
    """Return a factor with two digits that count, as people write it."""
    if value >= 100:
        digits = 1 - math.floor(math.log10(value))
        return f"{round(value, digits):,.0f}"
    return f"{value:.2g}"


def render(record: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    """Return the report as one HTML file, to be written as UTF-8.

    Args:
        record: the content of `explain_pair/record.json`.
        images: PNG files by name: probe, reference, scores, SIDE_MAP.
    """
    return templates.render(
        "pair.html.jinja",
        {"data_uri": templates.data_uri, "figure": _figure},
        record=record,
        images=images,
        words=statement(record),
        map_names=MAP_NAMES,
        map_words=MAP_WORDS,
        measure_names=MEASURE_NAMES,
        parts=_parts(record),
    )


def _parts(record: Mapping[str, Any]) -> Sequence[tuple[str, float, float]]:
    """Return rows that add up to the cosine, and to 1 - cosine, in hundredths."""
    rows = [
        (part, 100 * both["similarity"], 100 * both["distance"])
        for part, both in record["parts"].items()
    ]
    left_over = 100 * record["bias"], 100 * record["distance_bias"]
    rows.append(("no place: the same for all images", *left_over))
    total = (
        "all together",
        100 * (record["map_sum"] + record["bias"]),
        100 * (record["distance_sum"] + record["distance_bias"]),
    )
    return [*rows, total]


def _figure(value: float) -> str:
    """Return a measure with one digit behind the point, or two below ten."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
