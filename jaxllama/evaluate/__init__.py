"""How good a model is: perplexity, divergence from another model, multiple choice, and what its matrices are multiplied with."""

from .choices import Question, hellaswag, multiple_choice, score_choices, winogrande
from .divergence import Divergence, DivergenceReport, compare, save_base
from .importance import importance_matrix
from .perplexity import Estimate, perplexity

__all__ = [
    "Divergence",
    "DivergenceReport",
    "Estimate",
    "Question",
    "compare",
    "hellaswag",
    "importance_matrix",
    "multiple_choice",
    "perplexity",
    "save_base",
    "score_choices",
    "winogrande",
]
