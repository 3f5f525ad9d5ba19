"""Everything that is fuzzed, by name."""

import command_targets
import graph_targets
import image_targets
import list_targets
import result_targets
import weights_targets
from target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (
        weights_targets,
        graph_targets,
        list_targets,
        result_targets,
        command_targets,
        image_targets,
    )
    for target in module.TARGETS
}
