"""What starts runs by itself, a module a kind; and when sources are asked for new rows."""
