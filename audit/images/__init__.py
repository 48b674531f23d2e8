"""Images: bytes to upright RGB, masks, and views, that is, which box of an image the network saw."""
