"""Options under which every method explains a tiny network in no time."""

# Of methods whose defaults take more than that.
OPTIONS = {
    "rise": {"num_masks": 6, "cells": 3},
    "lime": {"num_samples": 12, "cells": 2},
    "kernel_shap": {"num_samples": 24, "cells": 3},
    "integrated_gradients": {"num_steps": 3},
    "smooth_grad": {"num_samples": 3},
}
