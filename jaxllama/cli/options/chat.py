"""Options about chat templates and reasoning."""

from __future__ import annotations

from .kinds import one_of, path, text, whole
from .option import Group, Option

CHAT = Group(
    "chat template and reasoning",
    Option(("-sys", "--system-prompt"), "system", "system prompt, if the chat template supports one", text("PROMPT"), sets="system"),
    Option(("-sysf", "--system-prompt-file"), "system_file", "read the system prompt from a file", path(), sets="system"),
    Option(
        ("--chat-template",),
        "chat_template",
        "Jinja chat template, or the name of a built-in one (default: the model file's)",
        text("JINJA|NAME"),
        env="CHAT_TEMPLATE",
        sets="chat_template",
    ),
    Option(
        ("--chat-template-file",),
        "chat_template_file",
        "file to read the chat template from",
        path(),
        env="CHAT_TEMPLATE_FILE",
        sets="chat_template",
    ),
    Option(
        ("--chat-template-kwargs",), "chat_template_kwargs", "extra variables for the chat template, as a JSON object", text("JSON"), env="CHAT_TEMPLATE_KWARGS"
    ),
    Option(
        ("--jinja",),
        "jinja",
        "render chat templates with Jinja (always)",
        default=True,
        env="JINJA",
        off=("--no-jinja",),
        off_help="changes nothing, with a word",
    ),
    Option(
        ("-rea", "--reasoning"),
        "reasoning",
        "turn reasoning (thinking) on or off, if the chat template can; auto: as the template does by default",
        one_of("on", "off", "auto"),
        "auto",
        env="REASONING",
    ),
    Option(
        ("--reasoning-format",),
        "reasoning_format",
        "none: leave reasoning in the answer's content; deepseek or auto: move it to reasoning_content; deepseek-legacy: both",
        one_of("none", "auto", "deepseek", "deepseek-legacy", metavar="FORMAT"),
        "auto",
        env="THINK",
    ),
    Option(
        ("--reasoning-effort",), "reasoning_effort", "how much to reason, for templates that ask: low, medium, high ...", text("LEVEL"), env="REASONING_EFFORT"
    ),
    Option(
        ("--reasoning-budget",),
        "reasoning_budget",
        "maximum number of reasoning tokens; -1: no limit, 0: no reasoning",
        whole(-1),
        -1,
        env="THINK_BUDGET",
    ),
    Option(
        ("--reasoning-budget-message",),
        "reasoning_budget_message",
        "text to insert when the reasoning budget is used up, before the end of the reasoning",
        text("MESSAGE"),
        "",
        env="THINK_BUDGET_MESSAGE",
    ),
    Option(
        ("--reasoning-preserve",),
        "reasoning_preserve",
        "keep the reasoning of earlier answers in the prompt, for templates that ask",
        env="REASONING_PRESERVE",
        default=True,
        off=("--no-reasoning-preserve",),
        off_help="leave it out",
    ),
    Option(
        ("--skip-chat-parsing",),
        "skip_chat_parsing",
        "leave answers as the model wrote them",
        env="SKIP_CHAT_PARSING",
        off=("--no-skip-chat-parsing",),
        off_help="take reasoning out of them (default)",
    ),
)
