"""Text to token ids and back. No JAX here."""

from .stream import StreamDecoder
from .tokenizer import Tokenizer
from .vocabulary import TokenType, Vocabulary

__all__ = ["StreamDecoder", "TokenType", "Tokenizer", "Vocabulary"]
