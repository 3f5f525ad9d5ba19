"""Face recognition explained, and the explanation proved.

The modules, in the order the data flow:

    images        image files -> Batch
    models        images -> feature maps -> logits and class maps
    saliency      feature maps -> saliency: CAM, SDD and what they have to beat
    faithfulness  saliency -> masks -> scores -> sums: deletion and retention
    reports       tables, images, pages
    training      fine-tuning
    runs          the three modes of `main.py`

    from sdd_jax import models, saliency, faithfulness
"""
