"""Drawn faces that differ in a mark at a known place: does an explanation find it?"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import orl
from sdd_jax import faithfulness, models, saliency
from sdd_jax.images.sources import synthetic
from sdd_jax.runs import setup, train


@pytest.mark.slow
def test_sdd_finds_the_mark_that_tells_drawn_people_apart(tmp_path):
    config = orl.get_config()
    config.data = dict(source="synthetic", num_identities=6, num_images=20)
    # A mirrored mark would be another person's.
    config.train.augmentation.mirror = 0.0
    config.train.update(parts="head", validate_every=200)
    config = config.to_dict()
    result = train.run(config, tmp_path)
    assert result["validation_accuracy"] == 1.0
    faces = setup.load_splits(config)["test"]
    images = jnp.stack([faces.read(i) for i in range(len(faces))])
    marks = np.stack([mark_of(file) for file in faces.files])
    keys = jax.random.split(jax.random.key(0), len(faces))
    model = models.load(tmp_path)
    clean = saliency.clean_pass(model, images, jnp.asarray(faces.labels))

    def share_found(method):
        maps = saliency.METHODS[method](model, clean, keys).saliency
        found = faithfulness.most_salient(maps, keys, fraction=0.2)
        return (np.asarray(found) & marks).sum() / marks.sum()

    # By chance a fifth of the mark is in the most salient fifth.
    assert share_found("sdd") > 1.5 * 0.2
    assert share_found("sdd") > share_found("random_map") + 0.1
    assert share_found("random_pixels") == pytest.approx(0.2, abs=0.02)


def mark_of(file):
    person, number = file.removeprefix("person").split("/")
    image_size, num_identities = 150, 6
    return synthetic.draw(
        int(person),
        int(number),
        image_size=image_size,
        seed=0,
        num_identities=num_identities,
    )[1]
