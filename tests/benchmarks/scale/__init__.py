"""What grows with a collection: a million targets, a million images, many workers."""
