"""One file for each family of architectures: how its metadata become a `Config`. Importing it fills the table."""

from . import deepseek, gemma, gpt_oss, lfm, llama, mamba, openelm, qwen

__all__ = ["deepseek", "gemma", "gpt_oss", "lfm", "llama", "mamba", "openelm", "qwen"]
