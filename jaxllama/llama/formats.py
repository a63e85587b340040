"""llama-cpp-python's names of chat formats, as templates: built-in ones of llama.cpp where there is one of the same form."""

from __future__ import annotations

from jaxllama.text.chat.builtin import BUILTIN, role_rows

FALLBACK = "llama-2"  # of a file without a template

_QWEN = "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
# None: the file's own template.
CHAT_FORMATS: dict[str, str | None] = {
    "llama-2": "llama2-sys",
    "llama-3": "llama3",
    "chatml": "chatml",
    "chatml-function-calling": "chatml",
    "chatglm3": "chatglm3",
    "gemma": "gemma",
    "mistral-instruct": "mistral-v1",
    "openchat": "openchat",
    "vicuna": "vicuna",
    "zephyr": "zephyr",
    "functionary": None,
    "functionary-v1": None,
    "functionary-v2": None,
    "qwen": _QWEN + BUILTIN["chatml"],
    "alpaca": role_rows(answer="### Response:", system="@\n\n", user="### Instruction: @\n\n", assistant="### Response: @</s>"),
    "oasst_llama": role_rows(answer="<|assistant|>", system="[INST] <<SYS>>\n@\n<</SYS>>\n\n", user="<|prompter|>@</s>", assistant="<|assistant|>@</s>"),
    "baichuan-2": role_rows(answer="<reserved_107>", system="@", user="<reserved_106>@", assistant="<reserved_107>@"),
    "baichuan": role_rows(answer="<reserved_103>", system="@", user="<reserved_102>@", assistant="<reserved_103>@"),
    "openbuddy": role_rows(answer="Assistant:", system="@\n", user="User: @\n", assistant="Assistant: @\n"),
    "redpajama-incite": role_rows(answer="<bot>:", system="@\n", user="<human>: @\n", assistant="<bot>: @\n"),
    "snoozy": role_rows(answer="### Response:", system="### Instruction:\n@\n", user="### Prompt: @\n", assistant="### Response: @\n"),
    "phind": role_rows(answer="### Assistant:", system="### System Prompt\n@\n\n", user="### User Message: @\n\n", assistant="### Assistant: @\n\n"),
    "intel": role_rows(answer="### Assistant:\n", system="### System:\n@\n", user="### User:\n@\n", assistant="### Assistant:\n@\n"),
    "open-orca": role_rows(answer="Assistant: ", system="@<|end_of_turn|>\n", user="User: @<|end_of_turn|>\n", assistant="Assistant: @<|end_of_turn|>\n"),
    "mistrallite": role_rows(answer="<|assistant|>", system="<|system|>@</s>", user="<|prompter|>@</s>", assistant="<|assistant|>@</s>"),
    "pygmalion": role_rows(answer="<|model|>", system="<|system|>@\n", user="<|user|>@\n", assistant="<|model|>@\n"),
    "saiga": role_rows(answer="<s>bot\n", system="<s>system\n@</s>", user="<s>user\n@</s>", assistant="<s>bot\n@</s>"),
}

# Texts that end an answer, for models whose vocabularies have no token that does.
STOPS = {
    "llama-3": "<|eot_id|>",
    "qwen": "<|im_end|>",
    "chatml": "<|im_end|>",
    "chatml-function-calling": "<|im_end|>",
    "zephyr": "</s>",
    "mistral-instruct": "</s>",
    "chatglm3": "</s>",
    "openchat": "<|end_of_turn|>",
    "open-orca": "<|end_of_turn|>",
    "gemma": "<end_of_turn>",
    "redpajama-incite": "<human>",
    "snoozy": "###",
    "saiga": "</s>",
}
