"""The worlds of the course: digits, the crossroads, and the conversion between bytes and floats."""
