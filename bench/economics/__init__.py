"""What a token costs: prices of hours, costs of tokens, measured groups joined to offers. Pure functions."""
