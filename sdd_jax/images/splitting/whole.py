"""All images of a source as one set, for whoever trains nothing on them.

As for a split, every image is read once before: damaged ones are left out and named,
and the same bytes twice count once. People with a single image stay.
"""

from sdd_jax.errors import InputError
from sdd_jax.images.splitting.collection import Collection
from sdd_jax.images.splitting.scanning import say_left_out, scan
from sdd_jax.images.splitting.splits import image_set_of
from sdd_jax.screen import first_of, say
from sdd_jax.types import ImageSet


def whole(collection: Collection, *, image_size: int) -> ImageSet:
    """Return every good image, in order of identity and file.

    Args:
        collection: All there is.
        image_size: Height and width to resize to, in pixels.

    Raises:
        InputError: There is no good image.
    """
    found = scan(collection.images, keep_lonely=True)
    kept = {row["identity"] for row in found.good}
    say_left_out(collection, kept=kept, lacking="a good image", listed="")
    if found.skipped:
        total = len(found.good) + len(found.skipped)
        reasons = [f"{row['path']}: {row['reason']}" for row in found.skipped]
        say(f"images left out: {len(reasons)} of {total}: {first_of(reasons)}")
    if not found.good:
        first = f"; the first: {found.skipped[0]['reason']}" if found.skipped else ""
        raise InputError(
            f"there is no good image among {len(found.skipped)}, expected at least "
            f"one{first}"
        )
    return image_set_of(found.good, collection.images, image_size)
