"""The composition root of the worker."""
