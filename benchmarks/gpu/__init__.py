"""The steps of `on_gpu`, each a command of its own that prints rows of JSON."""
