"""Ours beside torchvision: python -m benchmarks, or make bench."""
