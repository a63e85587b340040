"""Messages to a prompt, and a model's answer back to messages. No JAX here."""
