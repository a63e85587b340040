"""Options about the prompt, the generated text and what the user types in between."""

from __future__ import annotations

from .kinds import one_of, path, text, whole
from .option import Group, Option, options_of

COLOR = one_of("on", "off", "auto", metavar="[on|off|auto]")
ESCAPE = Option(
    ("-e", "--escape"),
    "escape",
    r"process escape sequences (\n, \r, \t, \', \", \\, \xHH) in texts of the command line (default)",
    default=True,
    off=("--no-escape",),
    off_help="do not process escape sequences",
)
TIMINGS = Group(
    "timings", Option(("--perf",), "perf", "print timings at the end (default)", default=True, env="PERF", off=("--no-perf",), off_help="do not print timings")
)

PROMPT = Group(
    "prompt and generation",
    Option(("-p", "--prompt"), "prompt", "the prompt; in a conversation, the first user message", text("PROMPT"), sets="prompt"),
    Option(("-f", "--file"), "file", "read the prompt from a file; - for stdin", path(), sets="prompt"),
    Option(("-bf", "--binary-file"), "binary_file", "read the prompt from a file, byte for byte", path(), sets="prompt"),
    Option(
        ("-n", "--predict", "--n-predict"),
        "n_predict",
        "number of tokens to generate; -1: until the model ends or the context is full, -2: the same, 0: read the prompt only",
        whole(-2),
        -1,
        env="N_PREDICT",
    ),
    ESCAPE,
)
OUTPUT = Group(
    "output",
    Option(("-r", "--reverse-prompt"), "stop", "stop at this text, in interactive mode to ask for input; may be repeated", text("PROMPT"), many=True),
    Option(("-sp", "--special"), "special", "print special tokens too"),
    Option(("--verbose-prompt",), "verbose_prompt", "print the prompt's tokens before generating"),
    Option(
        ("--display-prompt",),
        "display_prompt",
        "print the prompt before the generated text (default)",
        default=True,
        off=("--no-display-prompt",),
        off_help="do not print the prompt",
    ),
    Option(("-co", "--color"), "color", "colors for the prompt and what is typed; auto: on a terminal", COLOR, "auto"),
    *TIMINGS,
    Option(
        ("--show-timings",),
        "show_timings",
        "in a conversation, print the speed of each answer (default)",
        default=True,
        env="SHOW_TIMINGS",
        off=("--no-show-timings",),
        off_help="do not print it",
    ),
    Option(("-ptc", "--print-token-count"), "print_token_count", "with -v, print the number of tokens after every N", whole(), -1),
    Option(("-o", "--output", "--output-file"), "output", "write the generated text to a file too", path()),
)
INTERACTIVE = Group(
    "conversation and interactive mode",
    Option(
        ("-cnv", "--conversation"),
        "conversation",
        "chat with the model, as `jaxllama chat` does",
        off=("-no-cnv", "--no-conversation"),
        off_help="continue the prompt (default, without -sys, -sysf and -st)",
    ),
    Option(("-st", "--single-turn"), "single_turn", "answer one message, then exit"),
    Option(("-i", "--interactive"), "interactive", "ask for input where the text ends, at a text of -r, and at Ctrl-C"),
    Option(("-if", "--interactive-first"), "interactive_first", "the same, and ask for input first"),
    Option(("-mli", "--multiline-input"), "multiline_input", "input has several lines: one that ends in \\ is the last"),
    Option(("--in-prefix-bos",), "in_prefix_bos", "begin what is typed with BOS, before --in-prefix"),
    Option(("--in-prefix",), "in_prefix", "text before what is typed", text("STRING"), ""),
    Option(("--in-suffix",), "in_suffix", "text after what is typed", text("STRING"), ""),
    Option(("--simple-io",), "simple_io", "no colors and no line editing, for programs that read and write the text"),
    *options_of(
        """
        --prompt-cache FNAME
        --prompt-cache-all
        --prompt-cache-ro
        """,
        later="saving the prompt cache from the command line is",
    ),
)
