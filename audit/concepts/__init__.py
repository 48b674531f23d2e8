"""What is seen: the channels and concepts that heat comes from, with patches of images that show them."""
