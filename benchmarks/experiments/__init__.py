"""What each part of the training recipe gives: python -m benchmarks.experiments.ablations, .synthetic_to_real."""
