"""Rows that senders post: from the bytes of a batch to checked rows, and what cannot be taken."""
