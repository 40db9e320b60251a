"""What a training run needs beside the loop in train.py: arguments, schedule, run directory, plots, overrides."""
