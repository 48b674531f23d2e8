"""Training classifiers and segmentation networks."""
