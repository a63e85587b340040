"""llama.cpp's built-in templates, by name, written as Jinja; for files without a template, and for `--chat-template NAME`.

A row says what a message of each role becomes: `@` stands for its content, `~` for its content without white space around it, `%` for its role; `other` is the
row of all other roles. Conversations in which messages depend on each other are written out. Source: llama.cpp's llama-chat.cpp.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches

_VALUES = {"@": "message.content", "~": "message.content | trim", "%": "message.role"}


def _text(pattern: str) -> str:
    """A Jinja expression for a row's text."""
    return "{{ " + " ~ ".join(f"({_VALUES[p]})" if p in _VALUES else json.dumps(p) for p in re.split(r"([@~%])", pattern) if p) + " }}" if pattern else ""


def role_rows(begin: str = "", answer: str = "", **rows: str) -> str:
    """A template of rows, with what comes first, and what begins an answer."""
    other = rows.pop("other", "")
    cases = "".join(f"{{% {'elif' if n else 'if'} message.role == '{role}' %}}{_text(pattern)}" for n, (role, pattern) in enumerate(rows.items()))
    body = f"{cases}{{% else %}}{_text(other)}{{% endif %}}" if rows else _text(other)
    end = f"{{% if add_generation_prompt %}}{{{{ {json.dumps(answer)} }}}}{{% endif %}}" if answer else ""
    return f"{{{{ {json.dumps(begin)} }}}}{{% for message in messages %}}{body}{{% endfor %}}{end}"


def _mistral(lead: str, trail: str, content: str = "message.content") -> str:
    """Mistral's first templates: the system's words stand inside the user's first turn."""
    return (
        "{% set ns = namespace(inside=false) %}{% for message in messages %}"
        f"{{% if not ns.inside %}}{{{{ '{lead}[INST]{trail}' }}}}{{% set ns.inside = true %}}{{% endif %}}"
        "{% if message.role == 'system' %}{{ message.content ~ '\\n\\n' }}"
        f"{{% elif message.role == 'user' %}}{{{{ message.content ~ '{lead}[/INST]' }}}}"
        f"{{% else %}}{{{{ '{trail}' ~ ({content}) ~ '</s>' }}}}{{% set ns.inside = false %}}{{% endif %}}{{% endfor %}}"
    )


def _llama2(system: str, begin: str = "[INST] ", content: str = "message.content") -> str:
    return (
        "{{ '[INST] ' }}{% set ns = namespace(inside=true) %}{% for message in messages %}"
        f"{{% set content = {content} %}}"
        f"{{% if not ns.inside %}}{{{{ '{begin}' }}}}{{% set ns.inside = true %}}{{% endif %}}"
        f"{{% if message.role == 'system' %}}{{{{ {system} }}}}"
        "{% elif message.role == 'user' %}{{ content ~ ' [/INST]' }}"
        "{% else %}{{ content ~ '</s>' }}{% set ns.inside = false %}{% endif %}{% endfor %}"
    )


_SYS = "'<<SYS>>\\n' ~ content ~ '\\n<</SYS>>\\n\\n'"
_GEMMA = (
    "{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message.role == 'system' %}{% set ns.system = ns.system ~ (message.content | trim) %}"
    "{% else %}{% set role = 'model' if message.role == 'assistant' else message.role %}{{ '<start_of_turn>' ~ role ~ '\\n' }}"
    "{% if ns.system and role != 'model' %}{{ ns.system ~ '\\n\\n' }}{% set ns.system = '' %}{% endif %}"
    "{{ (message.content | trim) ~ '<end_of_turn>\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
_ORION = (
    "{% set ns = namespace(system='') %}{% for message in messages %}{% if message.role == 'system' %}{% set ns.system = ns.system ~ message.content %}"
    "{% elif message.role == 'user' %}{{ 'Human: ' }}{% if ns.system %}{{ ns.system ~ '\\n\\n' }}{% set ns.system = '' %}{% endif %}"
    "{{ message.content ~ '\\n\\nAssistant: </s>' }}{% else %}{{ message.content ~ '</s>' }}{% endif %}{% endfor %}"
)
_OPENCHAT = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ message.content ~ '<|end_of_turn|>' }}"
    "{% else %}{{ 'GPT4 Correct ' ~ (message.role[:1] | upper) ~ message.role[1:] ~ ': ' ~ message.content ~ '<|end_of_turn|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"
)
_MONARCH = (
    "{% for message in messages %}{{ ('' if loop.first else '<s>') ~ message.role ~ '\\n' ~ message.content ~ '</s>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\\n' }}{% endif %}"
)
_RWKV = (
    "{% for message in messages %}{% set content = message.content | trim %}{% if message.role == 'system' %}{{ 'System: ' ~ content ~ '\\n\\n' }}"
    "{% elif message.role == 'user' %}{{ 'User: ' ~ content ~ '\\n\\n' }}{% if loop.last %}{{ 'Assistant:' }}{% endif %}"
    "{% elif message.role == 'assistant' %}{{ 'Assistant: ' ~ content ~ '\\n\\n' }}{% endif %}{% endfor %}"
)
_GIGACHAT = (
    "{{ '<s>' }}{% for message in messages %}{% if loop.first and message.role == 'system' %}{{ message.content ~ '<|message_sep|>' }}"
    "{% elif message.role == 'user' %}{{ 'user<|role_sep|>' ~ message.content ~ '<|message_sep|>available functions<|role_sep|>[]<|message_sep|>' }}"
    "{% elif message.role == 'assistant' %}{{ 'assistant<|role_sep|>' ~ message.content ~ '<|message_sep|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant<|role_sep|>' }}{% endif %}"
)


def _bailing(begin: str, end: str, answer: str) -> str:
    return (
        f"{begin}{{% for message in messages %}}{{% set role = 'HUMAN' if message.role == 'user' else (message.role | upper) %}}"
        f"{{{{ '<role>' ~ role ~ '</role>' ~ message.content ~ '{end}' }}}}{{% endfor %}}{{% if add_generation_prompt %}}{{{{ '{answer}' }}}}{{% endif %}}"
    )


_HUNYUAN_DENSE = (
    "{% for message in messages %}{% if message.role == 'system' and loop.first %}{{ message.content ~ '<｜hy_place▁holder▁no▁3｜>' }}"
    "{% elif message.role == 'assistant' %}{{ '<｜hy_Assistant｜>' ~ message.content ~ '<｜hy_place▁holder▁no▁2｜>' }}"
    "{% elif message.role == 'user' %}{{ '<｜hy_User｜>' ~ message.content ~ '<｜hy_Assistant｜>' }}{% endif %}{% endfor %}"
)
_HUNYUAN_VL = (
    "{{ '<｜hy_begin▁of▁sentence｜>' }}{% for message in messages %}{% if message.role == 'system' and loop.first %}"
    "{{ message.content ~ '<｜hy_place▁holder▁no▁3｜>' }}{% elif message.role == 'user' %}{{ message.content ~ '<｜hy_User｜>' }}"
    "{% elif message.role == 'assistant' %}{{ message.content ~ '<｜hy_Assistant｜>' }}{% endif %}{% endfor %}"
)
_PANGU = "{% if messages[0].role != 'system' %}{{ '[unused9]系统：[unused10]' }}{% endif %}" + role_rows(
    answer="[unused9]助手：",
    system="[unused9]系统：@[unused10]",
    user="[unused9]用户：@[unused10]",
    assistant="[unused9]助手：@[unused10]",
    tool="[unused9]工具：@[unused10]",
    function="[unused9]方法：@[unused10]",
)
_GRANITE4 = role_rows(
    answer="<|start_of_role|>assistant<|end_of_role|>",
    assistant_tool_call="<|start_of_role|>assistant<|end_of_role|><|tool_call|>@<|end_of_text|>\n",
    other="<|start_of_role|>%<|end_of_role|>@<|end_of_text|>\n",
)
_EXAONE = {"system": "[|system|]~[|endofturn|]\n", "user": "[|user|]~\n", "assistant": "[|assistant|]~[|endofturn|]\n"}

BUILTIN: Mapping[str, str] = {
    "chatml": role_rows(answer="<|im_start|>assistant\n", other="<|im_start|>%\n@<|im_end|>\n"),
    "llama2": _llama2("content ~ '\\n'"),
    "llama2-sys": _llama2(_SYS),
    "llama2-sys-bos": _llama2(_SYS, begin="<s>[INST] "),
    "llama2-sys-strip": _llama2(_SYS, content="message.content | trim"),
    "mistral-v1": _mistral(" ", " "),
    "mistral-v3": _mistral("", " ", "message.content | trim"),
    "mistral-v3-tekken": _mistral("", ""),
    "mistral-v7": role_rows(system="[SYSTEM_PROMPT] @[/SYSTEM_PROMPT]", user="[INST] @[/INST]", other=" @</s>"),
    "mistral-v7-tekken": role_rows(system="[SYSTEM_PROMPT]@[/SYSTEM_PROMPT]", user="[INST]@[/INST]", other="@</s>"),
    "phi3": role_rows(answer="<|assistant|>\n", other="<|%|>\n@<|end|>\n"),
    "phi4": role_rows(answer="<|im_start|>assistant<|im_sep|>", other="<|im_start|>%<|im_sep|>@<|im_end|>"),
    "falcon3": role_rows(answer="<|assistant|>\n", other="<|%|>\n@\n"),
    "zephyr": role_rows(answer="<|assistant|>\n", other="<|%|>\n@<|endoftext|>\n"),
    "monarch": _MONARCH,
    "gemma": _GEMMA,
    "orion": _ORION,
    "openchat": _OPENCHAT,
    "vicuna": role_rows(answer="ASSISTANT:", system="@\n\n", user="USER: @\n", assistant="ASSISTANT: @</s>\n"),
    "vicuna-orca": role_rows(answer="ASSISTANT:", system="SYSTEM: @\n", user="USER: @\n", assistant="ASSISTANT: @</s>\n"),
    "deepseek": role_rows(answer="### Response:\n", system="@", user="### Instruction:\n@\n", assistant="### Response:\n@\n<|EOT|>\n"),
    "deepseek2": role_rows(answer="Assistant:", system="@\n\n", user="User: @\n\n", assistant="Assistant: @<｜end▁of▁sentence｜>"),
    "deepseek3": role_rows(answer="<｜Assistant｜>", system="@\n\n", user="<｜User｜>@", assistant="<｜Assistant｜>@<｜end▁of▁sentence｜>"),
    "deepseek-ocr": role_rows(other="@"),
    "command-r": role_rows(
        answer="<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        system="<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>~<|END_OF_TURN_TOKEN|>",
        user="<|START_OF_TURN_TOKEN|><|USER_TOKEN|>~<|END_OF_TURN_TOKEN|>",
        assistant="<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>~<|END_OF_TURN_TOKEN|>",
    ),
    "llama3": role_rows(answer="<|start_header_id|>assistant<|end_header_id|>\n\n", other="<|start_header_id|>%<|end_header_id|>\n\n~<|eot_id|>"),
    "chatglm3": role_rows("[gMASK]sop", "<|assistant|>", other="<|%|>\n @"),
    "chatglm4": role_rows("[gMASK]<sop>", "<|assistant|>\n", other="<|%|>\n@"),
    "glmedge": role_rows(answer="<|assistant|>", other="<|%|>\n@"),
    "minicpm": role_rows(user="<用户>~<AI>", other="~"),
    "exaone3": role_rows(answer="[|assistant|]", **_EXAONE),
    "exaone4": role_rows(answer="[|assistant|]", **_EXAONE, tool="[|tool|]~[|endofturn|]\n"),
    "exaone-moe": role_rows(answer="<|assistant|>\n", **{role: f"<|{role}|>\n~<|endofturn|>\n" for role in ("system", "user", "assistant", "tool")}),
    "rwkv-world": _RWKV,
    "granite": role_rows(
        answer="<|start_of_role|>assistant<|end_of_role|>",
        assistant_tool_call="<|start_of_role|>%<|end_of_role|><|tool_call|>@<|end_of_text|>\n",
        other="<|start_of_role|>%<|end_of_role|>@<|end_of_text|>\n",
    ),
    "granite-4.0": _GRANITE4,
    "granite-4.1": _GRANITE4,
    "gigachat": _GIGACHAT,
    "megrez": role_rows(answer="<|role_start|>assistant<|role_end|>", other="<|role_start|>%<|role_end|>@<|turn_end|>"),
    "yandex": role_rows(answer=" Ассистент:[SEP]", user=" Пользователь: @\n\n", assistant=" Ассистент: @\n\n"),
    "bailing": _bailing("", "", "<role>ASSISTANT</role>"),
    "bailing-think": _bailing("", "", "<role>ASSISTANT</role><think>"),
    "bailing2": _bailing(
        "{% if messages[0].role != 'system' %}{{ '<role>SYSTEM</role>detailed thinking off<|role_end|>' }}{% endif %}", "<|role_end|>", "<role>ASSISTANT</role>"
    ),
    "llama4": role_rows(answer="<|header_start|>assistant<|header_end|>\n\n", other="<|header_start|>%<|header_end|>\n\n~<|eot|>"),
    "smolvlm": role_rows("<|im_start|>", "Assistant:", system="@\n\n", user="User: @<end_of_utterance>\n", other="Assistant: @<end_of_utterance>\n"),
    "hunyuan-moe": role_rows(system="<|startoftext|>@<|extra_4|>", assistant="@<|eos|>", other="<|startoftext|>@<|extra_0|>"),
    "gpt-oss": role_rows(answer="<|start|>assistant", assistant="<|start|>%<|message|>@<|return|>", other="<|start|>%<|message|>@<|end|>"),
    "hunyuan-dense": _HUNYUAN_DENSE,
    "hunyuan-vl": _HUNYUAN_VL,
    "kimi-k2": role_rows(
        answer="<|im_assistant|>assistant<|im_middle|>",
        system="<|im_system|>system<|im_middle|>@<|im_end|>",
        user="<|im_user|>user<|im_middle|>@<|im_end|>",
        assistant="<|im_assistant|>assistant<|im_middle|>@<|im_end|>",
        tool="<|im_system|>tool<|im_middle|>@<|im_end|>",
        other="@<|im_end|>",
    ),
    "seed_oss": role_rows(answer="<seed:bos>assistant\n", assistant="<seed:bos>%\n~<seed:eos>", other="<seed:bos>%\n@<seed:eos>"),
    "grok-2": role_rows(answer="Assistant:", system="System: ~<|separator|>\n\n", user="Human: ~<|separator|>\n\n", assistant="Assistant: @<|separator|>\n\n"),
    "pangu-embedded": _PANGU,
    "solar-open": role_rows(answer="<|begin|>assistant", other="<|begin|>%<|content|>@<|end|>"),
}


def template_of(given: str) -> str:
    """The Jinja of a built-in template's name; other Jinja as it is.

    Raises:
        ValueError: it is neither. A text without Jinja would be the same prompt for all messages.
    """
    if given in BUILTIN or "{{" in given or "{%" in given:
        return BUILTIN.get(given, given)
    name = given if len(given) < 40 else f"{given[:40]}..."
    near = get_close_matches(given.strip().lower(), BUILTIN, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"there is no chat template '{name}'; {hint}a template is Jinja or one of {', '.join(BUILTIN)}")
