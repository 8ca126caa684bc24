"""Jobs: somebody else's data, models and scripts, retrained in the sandbox and judged here."""
