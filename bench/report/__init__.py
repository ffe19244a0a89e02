"""What a person sees: the live display and the tables."""
