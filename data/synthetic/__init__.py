"""Artificial stained smears: one cell, one field of view, a data set on disk, a set for pre-training."""
