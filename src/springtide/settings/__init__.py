"""springtide.toml, read once at the edge, frozen, and refused with its line when it is wrong."""
