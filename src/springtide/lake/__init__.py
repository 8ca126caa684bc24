"""Rows at rest: Delta tables with one row per key, versions, and snapshots that can be repeated."""
