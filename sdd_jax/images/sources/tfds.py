"""Any labelled image set of TensorFlow Datasets, read at random without TensorFlow.

The set must lie prepared on the disk, in the format array_record. Nothing is downloaded
or prepared here; the errors tell the command that does it. That command needs
TensorFlow for many sets (LFW is one), reading needs it for none.

The images are the set's encoded files, of which the middle square is taken; faces are
not detected or aligned. Identities are the label's names, its text, or its number;
names in two Unicode forms are one person's, as in `folder`.
TFDS keeps no file names: an image is called <identity>/<its place in the split>.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.images import preprocess
from sdd_jax.images.splitting import identities
from sdd_jax.images.splitting.collection import Collection, Maker, SourceImage
from sdd_jax.images.splitting.splits import splits_of
from sdd_jax.types import ImageSet


def splits(
    *,
    image_size: int,
    seed: int,
    record: Path | None = None,
    name: str,
    data_dir: str | None = None,
    tfds_split: str = "all",
    image_key: str = "image",
    label_key: str = "label",
    min_images: int = 2,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    max_skipped: float = 0.05,
) -> dict[str, ImageSet]:
    """Return train, validation and test sets; see `splits.splits_of`.

    Args:
        image_size: Height and width to resize to, in pixels.
        seed: Of the split.
        record: A folder to write the split to, or to take it from.
        name: "my_set", "my_set/config" or "my_set:1.0.0".
        data_dir: Where prepared sets lie; TFDS's own folder if None.
        tfds_split: "train", "train+test", "train[:10%]" or "all".
        image_key: The feature that is the image.
        label_key: The feature that says who it is.
        min_images: Identities with fewer images are left out.
        validation_fraction: Share of an identity's images.
        test_fraction: Share of an identity's images.
        max_skipped: The largest share of the images that may be damaged.

    Raises:
        InputError: The set is not there as array_record, or lacks what was asked for.
    """
    found = images(
        name,
        data_dir=data_dir,
        tfds_split=tfds_split,
        image_key=image_key,
        label_key=label_key,
    )
    return splits_of(
        with_enough(found, min_images),
        image_size=image_size,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        max_skipped=max_skipped,
        record=record,
    )


def maker(**_: Any) -> Maker:
    """Return how this source makes an image of any file: of the middle square."""
    return Maker(preprocess.middle)


def images(
    name: str,
    *,
    data_dir: str | None = None,
    tfds_split: str = "all",
    image_key: str = "image",
    label_key: str = "label",
    pixels: Callable[[str, bytes], np.ndarray] | None = None,
) -> Collection:
    """Return every image of a split.

    Args:
        name: As for `splits`, like the rest.
        data_dir: Where prepared sets lie.
        tfds_split: Which of its splits.
        image_key: The feature that is the image.
        label_key: The feature that says who it is.
        pixels: An image's name and encoded bytes -> its square; the middle if None.

    Raises:
        InputError: The set is not there as array_record, or lacks what was asked for.
    """
    tfds = _package()
    builder = _builder(tfds, name, data_dir)
    features = builder.info.features
    _check_features(tfds, name, features, image_key, label_key)
    try:
        source = builder.as_data_source(
            split=tfds_split,
            decoders={image_key: tfds.decode.SkipDecoding()},
            file_format="array_record",
        )
    except ValueError as error:
        raise InputError(
            f"data.tfds_split={tfds_split!r}: {name} has no such split; expected "
            f"{', '.join(sorted(builder.info.splits))} or all"
        ) from error
    except RuntimeError as error:
        raise _damaged(name, error) from error
    found = []
    for place in range(len(source)):
        label = _read(source, place, name)[label_key]
        identity = _identity(features[label_key], label, name)
        file = f"{identity}/{place}"
        found.append(
            SourceImage(
                identity,
                file,
                partial(_contents, source, place, image_key, name),
                partial(pixels or preprocess.middle, f"{name}: {file}"),
            )
        )
    return identities.with_one_form(found)


def with_enough(found: Collection, min_images: int) -> Collection:
    """Return the images of who has at least so many, and a note on who has fewer.

    Raises:
        InputError: Nobody has.
    """
    counts = Counter(image.identity for image in found.images)
    kept = [p for p in found.images if counts[p.identity] >= min_images]
    if not kept:
        raise InputError(
            f"nobody has data.min_images={min_images} images; the most is "
            f"{max(counts.values(), default=0)}, lower data.min_images"
        )
    few = sorted(name for name, count in counts.items() if count < min_images)
    if not few:
        return found._replace(images=kept)
    note = (
        f"people left out, with fewer than {min_images} images each "
        f"(data.min_images): {len(few)} of {len(counts)}: {identities.some(few)}"
    )
    return found._replace(images=kept, notes=[*found.notes, note])


def _package() -> Any:
    try:
        import tensorflow_datasets  # pyrefly: ignore[missing-import]
    except ImportError as error:
        raise InputError(
            "reading sets of TensorFlow Datasets needs a package that is not "
            "installed: pip install 'sdd_jax[tfds]'"
        ) from error
    return tensorflow_datasets


def _builder(tfds: Any, name: str, data_dir: str | None) -> Any:
    """Return what reads a prepared set, without running the set's own code."""
    folder = str(expanded(data_dir)) if data_dir else None
    where = f", data_dir={folder!r}" if folder else ""
    command = (
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder({name!r}{where}, file_format='array_record')"
        '.download_and_prepare()"'
    )
    try:
        builder = tfds.core.read_only_builder.builder_from_files(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            f"{name} is not prepared in {folder or 'the data folder of TFDS'}: correct "
            f"data.name or data.data_dir, or prepare it: {command}"
        ) from error
    except ValueError as error:
        raise InputError(
            f"data.name={name!r} cannot be read: expected SET, SET/CONFIG or "
            "SET:VERSION, such as lfw:0.1.1, of a set prepared by TFDS 4 or newer"
        ) from error
    formats = sorted(found.value for found in builder.info.available_file_formats())
    if "array_record" not in formats:
        raise InputError(
            f"{builder.data_dir} is prepared as {', '.join(formats)}, expected "
            f"array_record: remove it, or take another data.data_dir, and: {command}"
        )
    return builder


def _check_features(
    tfds: Any, name: str, features: Any, image_key: str, label_key: str
) -> None:
    """Raise InputError where a feature is missing or of a kind that is of no use."""
    for option, key in (("image_key", image_key), ("label_key", label_key)):
        if key not in features:
            raise InputError(
                f"data.{option}={key!r}: {name} has no such feature; expected one of "
                f"{', '.join(sorted(features))}"
            )
    image, label = features[image_key], features[label_key]
    if not isinstance(image, tfds.features.Image):
        raise InputError(
            f"data.image_key={image_key!r} is of {name}'s kind {type(image).__name__}, "
            "expected an Image: name another feature"
        )
    # A ClassLabel is a whole number, a Text is an object.
    is_number = label.shape == () and np.issubdtype(label.np_dtype, np.integer)
    if not is_number and not isinstance(label, tfds.features.Text):
        raise InputError(
            f"data.label_key={label_key!r} is of {name}'s kind {type(label).__name__}, "
            "expected a ClassLabel, a Text or a whole number: name another feature"
        )


def _identity(feature: Any, label: Any, name: str) -> str:
    """Return what a label is called."""
    if not hasattr(feature, "int2str"):
        if isinstance(label, bytes):
            return label.decode("utf-8", "surrogateescape")
        return str(label)
    if label < 0:  # what TFDS gives a test set whose answers are kept secret
        raise InputError(
            f"{name} holds images whose label is {label}, which is nobody: take a "
            "data.tfds_split in which each has a label"
        )
    return feature.int2str(int(label))


def _read(source: Any, place: int, name: str) -> Any:
    try:
        return source[place]
    except RuntimeError as error:
        raise _damaged(name, error) from error


def _contents(source: Any, place: int, image_key: str, name: str) -> bytes:
    return _read(source, place, name)[image_key]


def _damaged(name: str, error: Exception) -> InputError:
    reason = str(error).split(";")[0]
    return InputError(
        f"{name} is damaged ({reason}): remove its folder and prepare it again"
    )
