"""Training: classifiers on the labels of a manifest, and segmentation networks on masks, true or weak."""
