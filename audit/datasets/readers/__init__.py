"""Readers: a file a layout of data sets."""
