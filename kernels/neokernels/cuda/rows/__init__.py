"""What is computed of each row alone: norms, activations, rotations, and rounding to narrower types."""
