"""What a network holds of an image: activations, the channels that a map comes from, what cells and channels see."""
