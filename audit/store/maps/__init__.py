"""The maps of a run: Zarr arrays and the files that hold them."""
