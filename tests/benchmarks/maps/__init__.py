"""Maps of one network beside forward passes and other packages: speed, and whether they agree."""
