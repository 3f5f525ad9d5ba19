"""What these tests share.

The package is imported inside the fixtures: array shapes are checked only in what is
imported after pytest has read its command line.
"""

import pytest


@pytest.fixture(scope="session")
def published():
    """Return a tiny network's tensors under AdaFace's names. Not to be changed."""
    from published_files import drawn_tensors

    return drawn_tensors("ir_tiny")
