"""CUDA graphs: which sizes are captured, which step runs in which graph, and the graphs themselves."""
