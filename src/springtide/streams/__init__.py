"""Brokers in and out: rows and jobs that arrive as messages, events that leave, whatever the protocol."""
