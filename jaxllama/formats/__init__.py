"""Files to numpy and back. No JAX here."""
