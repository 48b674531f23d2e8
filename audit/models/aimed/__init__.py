"""Networks that are asked about what they gave for an image themselves: boxes, regions, words of a text."""
