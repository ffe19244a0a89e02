"""Products with the weights of projections, dense and quantised, for many rows and for few."""
