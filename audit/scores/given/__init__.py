"""What a network gave for an image itself, boxes or regions, and what is wrong with it."""
