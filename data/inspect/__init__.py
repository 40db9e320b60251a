"""Reports and pictures about a data set: what is in it, what augmentation does, whether the background tells the class."""
