"""A commented train.py for each environment: what a new script is copied from."""
