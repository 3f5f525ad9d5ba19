"""Small sets in TFDS's own format on the disk, written by TFDS itself, offline."""

import io
from typing import Any

import numpy as np
from PIL import Image


def image_file(seed: int, size: int = 24) -> bytes:
    """Return a PNG file of noise."""
    pixels = np.random.default_rng(seed).bytes(size * size * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (size, size), pixels).save(file, "PNG")
    return file.getvalue()


def write(folder, name: str, features: dict[str, Any], examples: dict[str, Any]):
    """Write a set, version 1.0.0; return its folder.

    Args:
        folder: where sets lie.
        name: of the set.
        features: name -> TFDS feature.
        examples: split -> dicts of feature values; images are encoded bytes.
    """
    import tensorflow_datasets as tfds  # pyrefly: ignore[missing-import]

    class Maker(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {split: self._generate_examples(split) for split in examples}

        def _generate_examples(self, split):
            for number, example in enumerate(examples[split]):
                yield (
                    number,
                    {
                        key: io.BytesIO(value) if key == "image" else value
                        for key, value in example.items()
                    },
                )

    Maker.name = name
    Maker(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder / name / "1.0.0"
