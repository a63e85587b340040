"""One file for each family of architectures: how its metadata become a `Config`. Importing it fills the table."""

from . import gemma, gpt_oss, llama, openelm, qwen

__all__ = ["gemma", "gpt_oss", "llama", "openelm", "qwen"]
