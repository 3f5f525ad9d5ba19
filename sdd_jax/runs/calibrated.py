"""What a cosine means, as `--mode=verify` measured it in a workdir."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdd_jax.errors import InputError
from sdd_jax.files import parsed, read_text
from sdd_jax.types import Calibration

_VERIFY = "run --mode=verify with this --config and --workdir"


def load_calibration(
    folder: Path, provenance: Mapping[str, Any], *, otherwise: str = ""
) -> Calibration:
    """Return the calibration in a workdir's `verify/metrics.json`.

    Args:
        folder: the workdir.
        provenance: from `embedder.load`: the network must be the one that was measured.
        otherwise: another way out than measuring, for the errors, such as "or give a
            threshold".

    Raises:
        InputError: nothing was measured, or of another network, or the file is damaged.
    """
    path = folder / "verify" / "metrics.json"
    way_out = f"{_VERIFY}{f', {otherwise}' if otherwise else ''}"
    if not path.is_file():
        raise InputError(
            f"no verification was measured in {folder}, so nobody knows from which "
            f"cosine on two images are of one person: expected {path}; {way_out}"
        )
    try:
        result = parsed(read_text(path))
        names = [field.name for field in dataclasses.fields(Calibration)]
        values = {name: float(result["calibration"][name]) for name in names}
        there = result["protocol"]
        measured = there["checkpoint_sha256"], there["compute_dtype"]
        checkpoint = there["checkpoint"]
        if not all(map(math.isfinite, values.values())):
            raise ValueError
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path} is damaged, expected what --mode=verify wrote: {way_out} again"
        ) from error
    if measured != (provenance["checkpoint_sha256"], provenance["compute_dtype"]):
        raise InputError(
            f"{path} is of {checkpoint} ({measured[0][:8]}, {measured[1]}), but the "
            f"network here is {provenance['checkpoint']} "
            f"({provenance['checkpoint_sha256'][:8]}, {provenance['compute_dtype']}): "
            f"{way_out}"
        )
    return Calibration(**values)
