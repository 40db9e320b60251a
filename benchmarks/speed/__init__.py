"""Speed and memory beside torchvision: python -m benchmarks.speed."""
