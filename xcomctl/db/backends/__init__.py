"""Database products: one module each, behind the contract in `base`."""
