"""Routed feed-forwards: routers, sorting by expert, the experts' products and their sum."""
