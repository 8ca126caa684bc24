"""How the database came to its present shape, one file per change, applied by Alembic in order."""
