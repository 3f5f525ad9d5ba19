"""What a TPU v5e would do, told by its compiler, on a machine without one.

    python -m benchmarks.aot_tpu [--arch=ir_101] [--dtype=bfloat16] [--identities=530]
        [--topologies=v5e:2x2,v5e:4x4] [--images=4494] [--batch_size=128]
        [--programs=train,remat,eval] [--largest] [--divide_head]

Compiles the step that mode train runs (all parameters, without and with
rematerialisation) and the program that mode eval runs (SDD and the random map, black
fill: five forward passes an image), with the batch divided among a slice's chips. Only
shapes are needed, no TPU and no images; nothing is run, so no time here is measured.
Last comes one JSON line.

    flops         XLA's count, a chip and batch. XLA counts a loop's body once. The body
                  of eval's loop over batches is one batch, as wanted. In it the network
                  stands twice, on the intact images and in the loop over the masked
                  ones, so the count is multiplied by (1 + masked images) / 2, here
                  5 / 2; the little that is no network is multiplied with it.
    bytes         what XLA's operations read and write, counted in the same way. Some of
                  it stays on the chip, which XLA does not tell: an upper bound.
    memory        arguments, results and temporary arrays on a chip, of 16 GB; results
                  that take an argument's place are not counted twice.
    collectives   as they stand in the compiled program; what is in a loop stands once.
    roofline      the longer of flops at the chip's published peak and bytes at its
                  memory's; for float32 the peak is a sixth, because the unit multiplies
                  bfloat16 and "highest" precision takes six products of parts. Training
                  in float32 leaves the precision to XLA, one product: there the peak is
                  bfloat16's. Communication is not in it. A bound, not a prediction.
    images/s      of the whole slice at the roofline; in eval, of the `images` asked
                  for, the ones that fill up the last batch not counted.

References:
    Williams, Waterman and Patterson, "Roofline: an insightful visual performance model
    for multicore architectures", CACM 52(4), 2009.
    Google Cloud, "TPU v5e": 197 TFLOP/s (bfloat16), 16 GB at 819 GB/s a chip.
"""

import argparse
import collections
import importlib.util
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

# Before JAX looks for devices: the TPU's compiler is wanted, and no TPU.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # do not ask the cloud for a TPU
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # nobody's TPU is taken

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.table import Table

from benchmarks import command
from configs import finetune
from sdd_jax import models, screen, sharding
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import ORDERS, grid
from sdd_jax.faithfulness.study import study
from sdd_jax.models import inference
from sdd_jax.models.classifier import variables, with_variables
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.models.ir_resnet import ARCHITECTURES
from sdd_jax.runs import train, whole_split
from sdd_jax.saliency import bind_methods
from sdd_jax.training import division
from sdd_jax.training.optimizer import make_optimizer
from sdd_jax.training.step import init_state
from sdd_jax.types import Batch

PEAK_FLOPS = 197e12  # a chip and second, bfloat16
PASSES = {"bfloat16": 1, "float32": 6}  # at "highest" precision
BANDWIDTH = 819e9  # bytes a second
MEMORY = 16e9  # bytes
PROGRAMS = ("train", "remat", "eval")
COLLECTIVES = re.compile(
    r" (all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)"
    r"(?:-start)?\("
)


class DoesNotFit(Exception):
    """The compiler found no room for a program's arrays."""


def shapes(tree: Any, mesh: Mesh, *axes: str | None) -> Any:
    """Return a tree of arrays, or shapes, as shapes that lie on the mesh."""
    where = NamedSharding(mesh, P(*axes))
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree
    )


def make_config(options: argparse.Namespace) -> dict[str, Any]:
    """Return the paper's config with this network, two methods and one fill."""
    config = finetune.get_config()
    config.model.backbone.update(arch=options.arch, dtype=options.dtype)
    config.eval.update(methods=("sdd", "random_map"), fills=("black",))
    return config.to_dict()


def describe(config: Mapping[str, Any], num_classes: int) -> dict[str, Any]:
    """Return the network's description with a head for so many classes."""
    head = {"name": "pooled", "num_classes": num_classes}
    return {"backbone": config["model"]["backbone"], "head": head}


def batch_shapes(*leading: int) -> Batch:
    """Return the shapes of images, with what else a batch has."""
    size = models.input_spec({"backbone": {"name": "ir_resnet"}}).size
    images = jax.ShapeDtypeStruct((*leading, size, size, 3), jnp.uint8)
    dtypes = (jnp.int32, jnp.int32, jnp.bool_)
    others = (jax.ShapeDtypeStruct(leading, dtype) for dtype in dtypes)
    return Batch(images, *others)


def lowered_train(
    config: dict[str, Any], options: argparse.Namespace, mesh: Mesh, batch_size: int
) -> Any:
    """Return mode train's step, to be compiled."""
    description = describe(config, options.identities)
    tx = make_optimizer(config["train"])
    parts = config["train"]["parts"]
    model = nnx.eval_shape(lambda: models.build(description))
    state = jax.eval_shape(lambda: init_state(models.build(description), tx, parts)[1])
    batch = batch_shapes(batch_size)

    def part(leaf: Any) -> Any:
        length = -(-leaf.shape[-1] // mesh.size) * mesh.size
        padded = jax.ShapeDtypeStruct((*leaf.shape[:-1], length), leaf.dtype)
        return shapes(padded, mesh, *[None] * (leaf.ndim - 1), "data")

    model.head.is_divided = options.divide_head and mesh.size > 1
    if model.head.is_divided:
        state = division.of_divided(part, state, lambda leaf: shapes(leaf, mesh))
    else:
        state = shapes(state, mesh)
    given = train.given_to_steps(config)  # on this machine: no chip is there to hold it
    with jax.set_mesh(mesh):
        step = train.step_on_images(config, nnx.graphdef(model), tx)
        return step.lower(state, shapes(batch, mesh, "data"), shapes(given, mesh))


def lowered_eval(
    config: dict[str, Any], options: argparse.Namespace, mesh: Mesh, batch_size: int
) -> Any:
    """Return mode eval's program, to be compiled."""
    description = describe(config, options.identities)
    # Folding computes, so it takes numbers; which ones, the program does not know.
    arrays = jax.tree.map(
        lambda x: np.ones(x.shape, x.dtype),
        nnx.eval_shape(lambda: variables(models.build(description))),
    )
    model = inference.folded(
        with_variables(description, arrays), dtype=options.dtype, platform="tpu"
    )
    methods = bind_methods(config["eval"]["methods"], config["saliency"])
    choices = config["eval"]
    wanted = grid(choices["fills"], (choices["fraction"],))
    graphdef, arrays = split_model(model)

    def one_batch(arrays: Any, data: Any, places: Any) -> tuple[Any, Any]:
        images, labels = data
        model, batch = join_model(graphdef, arrays), Batch(images, labels, places, None)
        out = study(model, batch, methods=methods, wanted=wanted, seed=choices["seed"])
        return (labels, out["intact"], out["perturbed"]), ()

    length = -(-options.images // batch_size)
    batches = batch_shapes(length, batch_size)
    count = shapes(jax.ShapeDtypeStruct((), jnp.int32), mesh)
    with jax.set_mesh(mesh):
        program: Any = whole_split.loop(one_batch, batch_size=batch_size)
        return program.lower(
            shapes(arrays, mesh),
            shapes((batches.images, batches.labels), mesh, None, "data"),
            *(count, count),
        )


def figures(
    name: str, options: argparse.Namespace, mesh: Mesh, batch_size: int
) -> dict[str, Any]:
    """Return a program's row.

    Raises:
        DoesNotFit: its arrays take more than a chip has.
    """
    config = make_config(options)
    config["train"]["remat"] = name == "remat"
    lower: Callable[..., Any] = lowered_eval if name == "eval" else lowered_train
    lowered = lower(config, options, mesh, batch_size)
    began = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DoesNotFit(_first_size(str(error))) from None
    seconds = time.perf_counter() - began
    planned, cost = compiled.memory_analysis(), compiled.cost_analysis()
    memory = {
        "arguments": planned.argument_size_in_bytes,
        "results": planned.output_size_in_bytes - planned.alias_size_in_bytes,
        "temporary": planned.temp_size_in_bytes,
    }
    if sum(memory.values()) > MEMORY:
        raise DoesNotFit(f"{sum(memory.values()) / 1e9:.1f} GB")
    times, passes, num_images, num_batches = 1.0, 1, batch_size, 1
    if name == "eval":
        choices = config["eval"]
        masked = len(choices["methods"]) * len(choices["fills"]) * len(ORDERS)
        times, passes = (1 + masked) / 2, PASSES[options.dtype]
        num_images, num_batches = options.images, -(-options.images // batch_size)
    flops, num_bytes = times * cost["flops"], times * cost["bytes accessed"]
    limits = {
        "flops": flops * passes / PEAK_FLOPS,
        "bytes": num_bytes / BANDWIDTH,
    }
    limit = max(limits, key=lambda each: limits[each])
    return {
        "batch_size": batch_size,
        "flops": flops,
        "bytes": num_bytes,
        "memory": memory,
        "collectives": dict(
            collections.Counter(COLLECTIVES.findall(compiled.as_text()))
        ),
        "seconds_at_the_limits": limits,
        "limit": limit,
        "images_per_second": num_images / (num_batches * limits[limit]),
        "compile_seconds": seconds,
    }


def _first_size(message: str) -> str:
    """Return what the compiler says it would have needed."""
    found = re.search(r"Used ([\d.]+[KMGT]?) of", message)
    return f"{found[1]}iB" if found else "more"


def largest_that_fits(
    name: str, options: argparse.Namespace, mesh: Mesh
) -> dict[str, Any]:
    """Return the row of the largest power of two of images a chip that fits.

    Raises:
        DoesNotFit: not even one does.
    """
    row, a_chip = figures(name, options, mesh, mesh.size), 1
    while a_chip * mesh.size < options.images:
        a_chip *= 2
        try:
            row = figures(name, options, mesh, a_chip * mesh.size)
        except DoesNotFit:
            break
    return row


def slice_mesh(topology: str) -> Mesh:
    """Return a slice's chips, which are not there, along the axis "data"."""
    try:
        devices = topologies.get_topology_desc(topology, "tpu").devices
    except Exception as error:
        raise InputError(
            f"the topology is {topology!r}, which the TPU's compiler does not know: "
            f"expected one such as v5e:2x2 or v5e:4x4 "
            f"({str(error).splitlines()[0]})"
        ) from error
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> Table:
    """Return all rows."""
    shown = Table(
        title=f"{options.arch}, {options.dtype}, {options.identities} identities: "
        f"what a chip does with its part of a batch"
    )
    for heading in (
        "",
        "program",
        "batch",
        "TFLOP",
        "GB moved",
        "memory GB: arguments + results + temporary",
        "collectives",
        "roofline ms",
        "limit",
        "images/s, slice",
        "compiled in s",
    ):
        shown.add_column(heading, justify="left" if heading == "" else "right")
    for row in rows:
        sizes = [size / 1e9 for size in row["memory"].values()]
        kinds = [f"{number} {kind}" for kind, number in row["collectives"].items()]
        shown.add_row(
            row["topology"],
            row["program"],
            str(row["batch_size"]),
            f"{row['flops'] / 1e12:.2f}",
            f"{row['bytes'] / 1e9:.1f}",
            " + ".join(f"{size:.2f}" for size in sizes) + f" = {sum(sizes):.2f}",
            ", ".join(kinds) or "none",
            f"{1000 * max(row['seconds_at_the_limits'].values()):.1f}",
            row["limit"],
            f"{row['images_per_second']:,.0f}",
            f"{row['compile_seconds']:.0f}",
        )
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Compile every program for every topology, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="ir_101")
    parser.add_argument("--dtype", choices=tuple(PASSES), default="bfloat16")
    parser.add_argument("--topologies", default="v5e:2x2,v5e:4x4")
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument(
        "--images", type=command.at_least(1), default=4494, help="of the test split"
    )
    parser.add_argument(
        "--batch_size",
        type=command.at_least(1),
        default=128,
        help="over all chips, as in the configs",
    )
    parser.add_argument(
        "--largest", action="store_true", help="the largest power of two a chip"
    )
    parser.add_argument("--identities", type=command.at_least(2), default=530)
    parser.add_argument(
        "--divide_head",
        action="store_true",
        help="in training, a part of the identities on each chip",
    )
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "the TPU's compiler, libtpu, is not installed: pip install 'jax[tpu]'"
        )
    rows = _rows(options)
    screen.console.print(table(rows, options), width=200, crop=False)
    print(json.dumps(vars(options) | {"rows": rows}))


def _rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for topology in options.topologies.split(","):
        mesh = slice_mesh(topology)
        for name in options.programs.split(","):
            if name not in PROGRAMS:
                raise InputError(
                    f"unknown program {name!r}: expected some of {', '.join(PROGRAMS)}"
                )
            try:
                if options.largest:
                    row = largest_that_fits(name, options, mesh)
                else:
                    with jax.set_mesh(mesh):
                        sharding.check_batch_size(options.batch_size, "--batch_size")
                    row = figures(name, options, mesh, options.batch_size)
            except DoesNotFit as error:
                raise InputError(
                    f"{name} in batches of {options.batch_size} does not fit on "
                    f"{topology}: it needs {error} of a chip's 16 GB; choose a smaller "
                    f"--batch_size or a larger slice"
                ) from None
            rows.append({"topology": topology, "program": name} | row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
