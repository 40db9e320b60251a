"""What comes around the model when it is used: devices, image files, test-time augmentation, measurements, export."""
