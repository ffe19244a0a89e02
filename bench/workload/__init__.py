"""What is asked: sessions of turns, drawn from measured quantile tables or read from recorded traces."""
