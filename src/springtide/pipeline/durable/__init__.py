"""Runs that outlive the process they began in: a queue, workers, and a process of its own for the steps of a run."""
