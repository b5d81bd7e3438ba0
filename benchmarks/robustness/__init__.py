"""Random config changes and kills on a real host, see ``soak``."""
