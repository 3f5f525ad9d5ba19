"""Measurements: accuracy over seeds, and speed beside a baseline."""
