"""Photographs -> aligned faces; the command is `python -m sdd_jax.images.align`.

wanted_faces  which face of each image is meant
detectors     where faces and their five points are
similarity    the turn, scale and shift that bring the points into place
crops         one photograph -> one aligned face
aligned_folder  names and records of what was done, to go on after a stop
"""
