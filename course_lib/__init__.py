"""Many Futures: the companion package of an interactive course on visual prediction.

Nothing is re-exported: the import path shows where to read.
"""

__version__ = "0.1.0"
