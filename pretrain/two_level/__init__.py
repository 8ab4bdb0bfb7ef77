"""two_level."""
