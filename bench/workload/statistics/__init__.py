"""What a trace holds, counted in one pass: lengths, arrivals, reuse, delays, and the shape of sessions."""
