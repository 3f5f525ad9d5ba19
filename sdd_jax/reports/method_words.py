"""What each method shows, in one plain sentence for people who do not program.

A label says it in a few words, for under an image. Sentences call the class that is
explained "the answer", and what is not about it is said to be so.
"""

from typing import NamedTuple

from sdd_jax.reports.table import method_name


class Words(NamedTuple):
    """A method in words."""

    label: str
    sentence: str


_SAME_FOR_ALL = "It would be the same for any other answer."
_CONTROL = "A good explanation must do better than this."

WORDS = {
    "sdd": Words(
        "What made the difference", "What sets the answer apart from the look-alikes."
    ),
    "cam": Words(
        "All that spoke for it",
        "All that spoke for the answer, even what the look-alikes share.",
    ),
    "fine_sdd": Words(
        "The difference, in finer detail",
        "What sets the answer apart from the look-alikes, placed more exactly by the "
        "network’s finer layers.",
    ),
    "fine_cam": Words(
        "What spoke for it, in finer detail",
        "What spoke for the answer, placed more exactly by the network’s finer layers.",
    ),
    "energy_cam": Words(
        "What spoke for it and stirred the network",
        "What spoke for the answer, where the network’s finer layers were active too.",
    ),
    "finer_cam": Words(
        "What spoke for it and not for others",
        "What spoke for the answer and less for the most similar other answers.",
    ),
    "grad_cam": Words(
        "What would strengthen the answer",
        "Where more of what the network found would strengthen the answer.",
    ),
    "grad_cam_plus_plus": Words(
        "What would strengthen it, several places",
        "Where more of what the network found would strengthen the answer, with "
        "several places counted alike.",
    ),
    "hires_cam": Words(
        "What added to the answer, place by place",
        "How much each place by itself added to the answer.",
    ),
    "xgrad_cam": Words(
        "What would strengthen it, by its share",
        "Where more of what the network found would strengthen the answer, weighted by "
        "how much of it was there.",
    ),
    "layer_cam": Words(
        "Only what would strengthen it",
        "Where the network found something, and more of it just there would strengthen "
        "the answer.",
    ),
    "refine_cam": Words(
        "Where all layers agree",
        "Where coarse and fine layers of the network agree on what spoke for the "
        "answer.",
    ),
    "eigen_cam": Words(
        "What stood out",
        f"What stood out most to the network in this image. {_SAME_FOR_ALL}",
    ),
    "score_cam": Words(
        "What scored well alone",
        "Places that kept the answer strong when little else was left to see.",
    ),
    "ablation_cam": Words(
        "What the answer lost without it",
        "Where the network found something without which the answer grows weaker.",
    ),
    "rise": Words(
        "What helped when shown",
        "Places that kept the answer strong, on average, when random parts of the "
        "image were covered.",
    ),
    "occlusion": Words(
        "What was missed when covered",
        "How much weaker the answer grew when a patch over the place was covered.",
    ),
    "lime": Words(
        "Which regions counted",
        "How much each region of similar colour counted when regions were covered at "
        "random.",
    ),
    "kernel_shap": Words(
        "Each region’s fair share",
        "Each region’s share of the answer, divided fairly among the regions.",
    ),
    "input_gradients": Words(
        "Where pixels matter most",
        "Where a tiny change of a pixel would change the answer most.",
    ),
    "gradient_x_input": Words(
        "Where pixels matter, by brightness",
        "Where a tiny change of a pixel would change the answer, weighted by the pixel "
        "itself.",
    ),
    "integrated_gradients": Words(
        "What pixels added, from an empty image on",
        "How much each pixel added to the answer as an empty image turned into this "
        "one.",
    ),
    "smooth_grad": Words(
        "Where pixels matter, noise averaged out",
        "Where a tiny change of a pixel would change the answer, averaged over noisy "
        "copies of the image.",
    ),
    "full_grad": Words(
        "Where pixels and layers matter",
        "Where pixels, and the network’s layers at that place, sway the answer most.",
    ),
    "random_map": Words(
        "Random blotches",
        f"Blotches drawn at random, which know nothing of the image. {_CONTROL}",
    ),
    "random_pixels": Words(
        "Random points",
        f"Points drawn at random, which know nothing of the image. {_CONTROL}",
    ),
    "centre": Words(
        "The middle", f"The middle of every image, whoever is seen. {_CONTROL}"
    ),
    "sobel": Words(
        "Edges",
        f"The edges in the photograph; the network is not asked at all. {_CONTROL}",
    ),
    "activation_energy": Words(
        "Where the network was active",
        f"Where the network found anything at all. {_SAME_FOR_ALL} {_CONTROL}",
    ),
}


def shown(method: str) -> dict[str, str]:
    """Return what the page says of a method: name, label and sentence."""
    return {"key": method, "name": method_name(method), **WORDS[method]._asdict()}
