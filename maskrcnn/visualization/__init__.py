"""Pictures with matplotlib: images with their objects (drawing.py), and the output of every stage (stages.py)."""
