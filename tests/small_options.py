"""Options under which every method explains a tiny network in no time."""

# Of methods whose defaults take more than a tiny network is worth, or that leave
# nothing of its maps, which speak against most targets.
OPTIONS = {
    "score_cam": {"relu": False},
    "ablation_cam": {"relu": False},
    "rise": {"num_masks": 6, "cells": 3},
    "lime": {"num_samples": 12, "cells": 2},
    "kernel_shap": {"num_samples": 24, "cells": 3},
}
