"""Springtide keeps models in production fresh and honest."""

__version__ = "0.1.0"
