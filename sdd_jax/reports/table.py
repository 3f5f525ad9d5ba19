"""Tables for the terminal: rich renderables, at home in 80 columns, nothing printed.

`metrics` is the content of `eval/metrics.json`, all numbers in percent:

    metrics["methods"][METHOD][FILL][SCHEME][METRIC] = {"value", "low", "high"}
    metrics["difference_to_sdd"]                       the same, SDD minus METHOD
    metrics["accuracy"]                                {"value", "low", "high"}
    metrics["num_images"]                              int
    metrics["protocol"]["config"]["data"]["source"]    where the images come from

Any of the metrics may be a column, whatever number of words its name has. `low` and
`high` bound a 95 % interval. `table_1(metrics |
metrics["correctly_classified"])` is the same table over those images alone.
Numbers are never cut off: a narrow terminal wraps them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

# Deletion results, accuracy and size of the test set as published, in percent.
# "Explainable Face Recognition via Improved Localization", arXiv:2505.03837 (2025),
# Table 1. Its retention figures are not known here.
PAPER = {
    "accuracy": 96.33,
    "num_images": 4494,
    "methods": {
        "sdd": {"confidence_drop": 62.33, "prediction_change": 51.36},
        "random_map": {"confidence_drop": 42.50, "prediction_change": 29.73},
    },
}
# The paper sets the removed pixels to 0.
PAPER_FILL = "black"
# Its own data, and the embedded default's, of which the README shows the same table.
# Beside anybody else's people its figures would only mislead.
PAPER_SOURCES = ("facescrub", "orl")

# The README's words.
METHOD_NAMES = {
    "sdd": "SDD",
    "cam": "CAM",
    "random_map": "random map",
    "random_pixels": "random pixels",
    "centre": "centred Gaussian",
    "fine_cam": "fine CAM",
    "fine_sdd": "fine SDD",
    "energy_cam": "energy CAM",
    "finer_cam": "Finer-CAM",
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "hires_cam": "HiResCAM",
    "xgrad_cam": "XGrad-CAM",
    "layer_cam": "LayerCAM",
    "refine_cam": "RefineCAM",
    "eigen_cam": "Eigen-CAM",
    "score_cam": "Score-CAM",
    "ablation_cam": "Ablation-CAM",
    "rise": "RISE",
    "occlusion": "occlusion",
    "lime": "LIME",
    "kernel_shap": "Kernel SHAP",
    "input_gradients": "input gradients",
    "gradient_x_input": "gradient x input",
    "integrated_gradients": "Integrated Gradients",
    "smooth_grad": "SmoothGrad",
    "full_grad": "FullGrad",
    "sobel": "Sobel edges",
    "activation_energy": "activation energy",
    "mean_map": "mean map of others",
    "cam_less_twin": "CAM less the twin's",
    # Of pairs.
    "similarity": "similarity map",
    "fine_similarity": "fine similarity",
    "pair_sdd": "SDD of a pair",
    "distance": "distance map",
    "one_sided_distance": "one-sided distance",
    "fine_distance": "fine distance",
    "patch_cosine": "patch cosine",
    "xssab": "xSSAB",
    "fggb": "FGGB",
    "corr_rise": "CorrRISE",
    "occlusion_of_both": "occlusion of both",
    "pixel_difference": "pixel difference",
}
COLUMNS = (
    ("deletion", "confidence_drop"),
    ("deletion", "prediction_change"),
    ("retention", "confidence_drop"),
    ("retention", "prediction_change"),
)


def table_1(
    metrics: Mapping[str, Any], columns: Sequence[tuple[str, str]] = COLUMNS
) -> Group:
    """Return the paper's Table 1 as measured.

    The paper's own figures stand in it where the images come from PAPER_SOURCES.

    Args:
        metrics: see above.
        columns: scheme and metric of each; the paper's by default.

    References:
        "Explainable Face Recognition via Improved Localization", arXiv:2505.03837
        (2025), Table 1.
    """
    methods = metrics["methods"]
    source = metrics["protocol"]["config"]["data"]["source"]
    has_paper = source in PAPER_SOURCES
    table = _scores_table(f"Table 1. {metrics['num_images']:,} test images", columns)
    for fill in _fills(methods):
        table.add_row(Text(f"{fill} fill", style="bold cyan"))
        for method, scores in methods.items():
            cells = [_cell(scores[fill][scheme][name]) for scheme, name in columns]
            table.add_row(_name(method), *cells)
            if has_paper and fill == PAPER_FILL and method in PAPER["methods"]:
                table.add_row(*_paper_cells(method, columns))
        table.add_section()
    accuracy = metrics["accuracy"]
    return Group(
        table,
        _note(
            f"Under each figure its 95 % interval. The network's accuracy: "
            f"{accuracy['value']:.1f} % ({_interval(accuracy)}).",
            "Deletion removes the most salient pixels: larger is better. Retention "
            "keeps only them: smaller is better.",
            _about_paper(source),
            "Confidence drops depend on the temperature of the network's head and "
            "cannot be compared between heads.",
        ),
    )


def differences(
    metrics: Mapping[str, Any], columns: Sequence[tuple[str, str]] = COLUMNS
) -> Group:
    """Return SDD minus every other method, image by image; see `table_1`."""
    methods = metrics["difference_to_sdd"]
    title = "SDD minus each method, paired, in percentage points"
    table = _scores_table(title, columns)
    for fill in _fills(methods):
        table.add_row(Text(f"{fill} fill", style="bold cyan"))
        for method, scores in methods.items():
            cells = [
                _difference(scores[fill][scheme][name]) for scheme, name in columns
            ]
            table.add_row(_name(method), *cells)
        table.add_section()
    return Group(
        table,
        _note(
            "* the 95 % interval excludes 0.",
            "SDD is ahead where deletion is above 0 and retention below 0.",
        ),
    )


def method_name(method: str) -> str:
    """Return what a method is called in tables and on pages."""
    return METHOD_NAMES.get(method, method)


def results(title: str, numbers: Mapping[str, Any]) -> Table:
    """Return a flat dict as two columns: whole numbers exact, others to 4 digits."""
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, show_header=False)
    table.title_justify = "left"
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", justify="right")
    for name, number in numbers.items():
        table.add_row(Text(name), Text(_number(number)))
    return table


def _scores_table(title: str, columns: Sequence[tuple[str, str]]) -> Table:
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False)
    table.title_justify = "left"
    table.add_column("", overflow="fold")
    for scheme, metric in columns:
        words = "\n".join(metric.split("_"))
        unit = "" if metric.endswith("_points") else " %"
        heading = Text(f"{scheme.capitalize()}\n{words}{unit}")
        table.add_column(heading, overflow="fold", justify="right")
    return table


def _fills(methods: Mapping[str, Any]) -> list[str]:
    return list(next(iter(methods.values()), {}))


def _name(method: str) -> Text:
    return Text(method_name(method))


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{estimate['low']:.1f} to {estimate['high']:.1f}"


def _cell(estimate: Mapping[str, float]) -> Text:
    value = Text(f"{estimate['value']:.1f}\n", style="bold")
    return value.append(_interval(estimate), style="not bold dim")


def _difference(estimate: Mapping[str, float]) -> Text:
    # A mark besides the style: files and pipes keep no style.
    clear = estimate["low"] > 0 or estimate["high"] < 0
    value = Text("* " if clear else "", style="bold" if clear else "")
    value.append(f"{estimate['value']:+.1f}\n")
    return value.append(_interval(estimate), style="not bold dim")


def _paper_cells(method: str, columns: Sequence[tuple[str, str]]) -> list[Text]:
    published = PAPER["methods"][method]
    figures = [
        f"{published[metric]:.2f}"
        if scheme == "deletion" and metric in published
        else "-"
        for scheme, metric in columns
    ]
    return [Text(cell, style="italic dim") for cell in ("  in the paper", *figures)]


def _about_paper(source: str) -> str:
    if source not in PAPER_SOURCES:
        return (
            f"The paper's figures stand beside {' and '.join(PAPER_SOURCES)} images "
            f"only; these are from data.source={source}."
        )
    return (
        f"In the paper: its figures (arXiv:2505.03837; FaceScrub, AdaFace IR-101, "
        f"{PAPER['num_images']:,} images, accuracy {PAPER['accuracy']} %). Where data "
        "or network differ, only the order of the methods can be compared. Its random "
        "CAM is the random map here. -: not known here."
    )


def _note(*sentences: str) -> Padding:
    return Padding(Text("\n".join(sentences), style="dim"), (0, 1))


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
