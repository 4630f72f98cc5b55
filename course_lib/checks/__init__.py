"""Exercise checkers, one file per chapter, and the report they share."""
