"""Where rows come from: files, exchanges, and a simulated exchange for demonstrations and tests."""
