"""What each part of the training recipe gives: python -m benchmarks.experiments.ablations, .recoloured,
.synthetic_to_real."""
