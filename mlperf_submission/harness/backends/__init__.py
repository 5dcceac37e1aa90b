"""Backends that compile a network into an engine and run batches of sample indices."""
