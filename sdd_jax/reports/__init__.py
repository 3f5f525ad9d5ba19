"""Arrays and plain dicts -> images, tables, pages.

overlay: saliency over an image, masked images, PNG bytes.
table: Table 1 and other figures for the terminal, with rich.
page: one self-contained HTML page, for readers who do not program.

Nothing here knows a model, and nothing is written or printed: the caller does that.
"""
