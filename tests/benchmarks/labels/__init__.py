"""Weak labels for segmentation, measured on real photographs."""
