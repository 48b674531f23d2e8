"""What a network holds of an image: activations, what cells and channels see."""
