"""What a machine could do, as its makers and others published it."""
