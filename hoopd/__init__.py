"""hoopd: an access gateway between identities and infrastructure."""

__version__ = "0.1.0"
