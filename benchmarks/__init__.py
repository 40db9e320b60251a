"""speed/: side by side with torchvision; experiments/: what each part of the training recipe gives."""
