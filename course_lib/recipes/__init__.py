"""How the files under `data/` are made: one recipe per chapter, and one for the digits."""
