"""The two composition roots, server and worker; one function per verb."""
