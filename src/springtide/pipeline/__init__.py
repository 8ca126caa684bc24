"""One run, step by step: collect, snapshot, prepare, train, export, judge, publish."""
