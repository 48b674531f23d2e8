"""Statistics: permutation tests, intervals, multiplicity, resampling, principal components. Nothing of images in it."""
