"""Recorded traces, one importer a format."""
