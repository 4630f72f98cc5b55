"""What a reader touches."""
