"""Text to token ids and back. No JAX here."""

from .stream import StreamDecoder
from .token_type import TokenType
from .tokenizer import Tokenizer
from .vocabulary import Vocabulary

__all__ = ["StreamDecoder", "TokenType", "Tokenizer", "Vocabulary"]
