"""What transforms each position by itself: one file a kind, each a value with its tensors and its computation."""

from .dense import Dense
from .experts import Experts

FeedForward = Dense | Experts

__all__ = ["Dense", "Experts", "FeedForward"]
