"""A run told on one page of HTML: a conclusion in words, pictures and tables, from its record alone."""
