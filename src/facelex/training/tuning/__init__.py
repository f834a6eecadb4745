"""Search for better settings of a configuration."""
