"""Versions, champions, journal and runs in a database; model files in a store named by their content."""
