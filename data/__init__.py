"""Images of stained blood smears: formats, reading, splits, augmentation, batches, inspection, synthetic smears."""
