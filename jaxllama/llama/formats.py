"""llama-cpp-python's 23 named chat formats, as data. `tests/reference/record_chat_formats.py` records what they write.

One thing is different: there open-orca leaves out the messages of "user" and "assistant" (its names are "User" and "Assistant"), and saiga those of "assistant"
(its name is "bot"). Here both names are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FALLBACK = "llama-2"  # of a file without a template


@dataclass(frozen=True)
class ChatFormat:
    """How messages are written; `@` stands for what a message says.

    Attributes:
        turns: role -> a message of that role; others are left out.
        ends: what comes after messages that say something, in turns.
        answer: what begins the answer.
        cut: what a message that says nothing lacks at its end.
        system: what comes first. Without `@`, the conversation's own system message is not told.
        default: the system message of a conversation that has none.
        without: what comes first instead where there is no system message.
        first: the first message after a system message.
        calls: messages without content, as those that call tools, are written too.
        stop: text that ends an answer.
    """

    turns: Mapping[str, str]
    ends: tuple[str, str]
    answer: str
    cut: str = ""
    system: str = ""
    default: str = ""
    without: str | None = None
    first: str | None = None
    calls: bool = True
    stop: str | None = None

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Messages with a role and content, as text with the beginning of the answer."""
        system = next((m["content"] for m in messages if m["role"] == "system"), None) or self.default
        text = self.system.replace("@", system) if system or self.without is None else self.without
        turns = [(self.turns[m["role"]], m["content"]) for m in messages if m["role"] in self.turns]
        for number, (turn, content) in enumerate(turns):
            if number == 0 and system and self.first is not None:
                text += self.first.replace("@", content or "")
            elif content:
                text += turn.replace("@", content) + self.ends[number % 2]
            elif content is not None or self.calls:
                text += turn.replace("@", "").removesuffix(self.cut)
        return text + self.answer


def _format(
    user: str, assistant: str, between: str, end: str, *, second: str | None = None, cut: str = "", answer: str | None = None, **more: Any
) -> ChatFormat:
    """One whose messages are a mark, something between, and what is said."""
    begun = (assistant + between).removesuffix(cut) if answer is None else answer
    return ChatFormat({"user": f"{user}{between}@", "assistant": f"{assistant}{between}@"}, (end, end if second is None else second), begun, cut, **more)


def _colon(user: str, assistant: str, end: str, **more: Any) -> ChatFormat:
    return _format(user, assistant, ": ", end, **{"cut": " ", **more})


_VICUNA = "A chat between a curious user and an artificial intelligence assistant. "
_VICUNA += "The assistant gives helpful, detailed, and polite answers to the user's questions. "
_OPENBUDDY = (
    "You are a helpful, respectful and honest INTP-T AI Assistant named Buddy. You are talking to a human User.\n"
    "Always answer as helpfully and logically as possible, while being safe. Your answers should not include any harmful, political, religious, unethical, "
    "racist, sexist, toxic, dangerous, or illegal content. Please ensure that your responses are socially unbiased and positive in nature.\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something not correct. "
    "If you don't know the answer to a question, please don't share false information.\n"
    "You can speak fluently in many languages, for example: English, Chinese.\n"
    "You cannot access the internet, but you have vast knowledge, cutoff: 2021-09.\n"
    "You are trained by OpenBuddy team, (https://openbuddy.ai, https://github.com/OpenBuddy/OpenBuddy), you are based on LLaMA and Falcon transformers model, "
    "not related to GPT or OpenAI.\n\n\n"
)
_ORCA = (
    "You are a helpful assistant. Please answer truthfully and write out your thinking step by step to be sure you get the right answer. "
    "If you make a mistake or encounter an error in your thinking, say so out loud and attempt to correct it. "
    "If you don't know or aren't sure about something, say so clearly. You will act as a professional logician, mathematician, and physicist. "
    "You will also act as the most appropriate type of expert to answer any particular question or solve the relevant problem; state which expert type "
    "your are, if so. Also think of any particular named expert that would be ideal to answer the relevant question or solve the relevant problem; "
    "name and act as them, if appropriate.<|end_of_turn|>\n"
)
_SNOOZY = "The prompt below is a question to answer, a task to complete, or a conversation to respond to; decide which and write an appropriate response."
_HEAD, _EOT = ("<|start_header_id|>", "<|end_header_id|>\n\n"), "<|eot_id|>"

CHAT_FORMATS: dict[str, ChatFormat] = {
    "llama-2": ChatFormat(
        {"user": "<s>[INST]@ ", "assistant": "[/INST]@ "}, (" ", "</s>"), "[/INST]", system="[INST] <<SYS>>\n@\n<</SYS>> ", without=" ", first="@ "
    ),
    "llama-3": ChatFormat(
        {role: f"{_HEAD[0]}{role}{_HEAD[1]}@" for role in ("system", "user", "assistant")}, (_EOT, _EOT), f"{_HEAD[0]}assistant{_HEAD[1]}", stop=_EOT
    ),
    "alpaca": _colon("### Instruction", "### Response", "\n\n", second="</s>", answer="", system="@\n\n"),
    "qwen": _format(
        *("<|im_start|>user", "<|im_start|>assistant", "\n", "<|im_end|>\n"),
        system="<|im_start|>system\n@<|im_end|>\n",
        default="You are a helpful assistant.",
        stop="<|endoftext|>",
    ),
    "vicuna": _colon("USER", "ASSISTANT", " ", second="</s>", system=_VICUNA),
    "oasst_llama": _format("<|prompter|>", "<|assistant|>", "", "</s>", system="[INST] <<SYS>>\n@\n<</SYS>>\n\n"),
    "baichuan-2": _format("<reserved_106>", "<reserved_107>", "", "", system="@"),
    "baichuan": _format("<reserved_102>", "<reserved_103>", "", "", system="@"),
    "openbuddy": _colon("User", "Assistant", "\n", system=_OPENBUDDY),
    "redpajama-incite": _colon("<human>", "<bot>", "\n", system="@\n", stop="<human>"),
    "snoozy": _colon("### Prompt", "### Response", "\n", system="@\n", default=_SNOOZY, stop="###"),
    "phind": _colon("### User Message", "### Assistant", "\n\n", system="### System Prompt\nYou are an intelligent programming assistant.\n\n"),
    "intel": _colon("### User:", "### Assistant:", "\n", system="### System:\n{system_message}\n"),
    "open-orca": ChatFormat(
        {"user": "User: @", "User": "User: @", "assistant": "Assistant: @", "Assistant": "Assistant: @"},
        ("<|end_of_turn|>\n", "<|end_of_turn|>\n"),
        "Assistant: ",
        system=_ORCA,
        stop="User",
    ),
    "mistrallite": _format("<|prompter|>", "</s>\n<|assistant|>", "", " ", system="<|system|>@</s>"),
    "zephyr": _format("<|user|>\n", "<|assistant|>\n", "\n", "</s>\n", system="<|system|>\n@</s>\n", stop="</s>"),
    "pygmalion": _format("<|user|>", "<|model|>", "\n", "\n\n", system="<|system|>@\n\n", stop="\n"),
    "chatml": _format("<|im_start|>user", "<|im_start|>assistant", "\n", "<|im_end|>\n", system="<|im_start|>system\n@<|im_end|>\n", stop="<|im_end|>"),
    "mistral-instruct": ChatFormat({"user": "[INST] @", "assistant": " [/INST]@</s>"}, ("", ""), " [/INST]", calls=False, stop="</s>"),
    "chatglm3": _format("<|user|>", "<|assistant|>", "\n ", "", cut="\n ", system="<|system|>\n@", stop="</s>"),
    "openchat": _format(
        *("GPT4 Correct User: ", "<|end_of_turn|>GPT4 Correct Assistant: ", "\n", "<|end_of_turn|>\n"),
        system="@<|end_of_turn|><|end_of_turn|>\n",
        stop="<|end_of_turn|>",
    ),
    "saiga": ChatFormat(
        {role: f"<s>{name}\n@" for role, name in (("system", "system"), ("user", "user"), ("assistant", "bot"), ("bot", "bot"))}, ("</s>", "</s>"), "<s>bot"
    ),
    "gemma": _format("<start_of_turn>user\n", "<start_of_turn>model\n", "", "<end_of_turn>\n", stop="<end_of_turn>\n"),
}
