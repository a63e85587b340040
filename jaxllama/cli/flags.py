"""llama.cpp's options as tables."""

from __future__ import annotations

from .options import Group, Option

MODEL = Group(
    "model",
    Option(("-m", "--model"), "model", "path of the GGUF file (default: the small story model in the package)", env="MODEL", metavar="FNAME"),
    Option(("-hf", "-hfr", "--hf-repo"), "hf_repo", "Hugging Face model repository: <user>/<model>[:quant]", env="HF_REPO", metavar="REPO"),
    Option(("-hff", "--hf-file"), "hf_file", "file in that repository; overrides the quant of --hf-repo", env="HF_FILE", metavar="FILE"),
    Option(("--override-kv",), "override_kv", "override metadata of the file; TYPE is int, float, bool or str", metavar="KEY=TYPE:VALUE,..."),
    Option(
        ("-lm", "--load-mode"),
        "load_mode",
        "mmap: keep a copy of the weights in the kernels' memory layout in the cache folder and memory-map it, so that processes share it; "
        "none: convert the weights into this process's own memory; "
        "auto: mmap for models above 64 MB",
        default="auto",
        env="LOAD_MODE",
        metavar="MODE",
    ),
    Option(("--check-tensors",), "check_tensors", "check the tensor data for infinities and NaN when loading", bool, False),
)
CONTEXT = Group(
    "context and KV cache",
    Option(("-c", "--ctx-size"), "n_ctx", "context size in tokens; 0: the model's training context (default: that, but at most 4096)", int, env="CTX_SIZE"),
    Option(("-b", "--batch-size"), "n_batch", "prompt tokens that one prefill call processes at most", int, 512, env="BATCH"),
    Option(
        ("-ctk", "--cache-type-k"),
        "cache_type",
        "data type of the KV cache, K and V alike: f16, bf16 or f32 (default: f16, with --exact f32)",
        env="CACHE_TYPE_K",
        metavar="TYPE",
    ),
    Option(("--exact",), "exact", "do not round activations to int8, compute in float32 throughout (slow)", bool, False),
)
PROMPT = Group(
    "prompt and generation",
    Option(("-p", "--prompt"), "prompt", "the prompt; in chat, the first user message", metavar="PROMPT"),
    Option(("-f", "--file"), "file", "read the prompt from a file", metavar="FNAME"),
    Option(
        ("-n", "--predict", "--n-predict"),
        "n_predict",
        "number of tokens to generate; -1: until the model ends or the context is full",
        int,
        -1,
        env="N_PREDICT",
    ),
    Option(
        ("-e", "--escape"),
        "escape",
        r"process escape sequences (\n, \r, \t, \', \", \\, \xHH) in the prompt (default)",
        bool,
        True,
        off=("--no-escape",),
        off_help="do not process escape sequences",
    ),
    Option(("-r", "--reverse-prompt"), "stop", "stop generating at this text", metavar="PROMPT"),
)
OUTPUT = Group(
    "output",
    Option(("--verbose-prompt",), "verbose_prompt", "print the prompt's tokens before generating", bool, False),
    Option(
        ("--display-prompt",),
        "display_prompt",
        "print the prompt before the generated text (default)",
        bool,
        True,
        off=("--no-display-prompt",),
        off_help="do not print the prompt",
    ),
    Option(("--perf",), "perf", "print timings at the end (default)", bool, True, env="PERF", off=("--no-perf",), off_help="do not print timings"),
)
# A value that is not given is taken from the file's general.sampling.*, and if it is not there either, is llama.cpp's default.
SAMPLING = Group(
    "sampling (the model file may recommend other defaults)",
    Option(
        ("--samplers",),
        "samplers",
        "samplers to use, in this order, separated by ';' (default: penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature)",
        metavar="SAMPLERS",
    ),
    Option(
        ("--sampler-seq", "--sampling-seq"),
        "sampler_seq",
        "the same, one letter each: e penalties, d dry, s top_n_sigma, k top_k, y typ_p, p top_p, m min_p, x xtc, t temperature, "
        "i infill, a adaptive_p (default: edskypmxt)",
        metavar="SEQUENCE",
    ),
    Option(("-s", "--seed"), "seed", "random seed; -1: a different one each time", int, -1, metavar="SEED"),
    Option(("--temp", "--temperature"), "temperature", "temperature; 0: always the most likely token (default: 0.8)", float, env="TEMPERATURE"),
    Option(("--top-k",), "top_k", "top-k sampling: keep the k most likely tokens; 0: all (default: 40)", int, env="TOP_K"),
    Option(
        ("--top-p",),
        "top_p",
        "top-p sampling: keep the fewest most likely tokens whose probabilities sum to N; 1: all (default: 0.95)",
        float,
        env="TOP_P",
    ),
    Option(("--min-p",), "min_p", "min-p sampling: keep tokens at least N times as likely as the most likely one; 0: all (default: 0.05)", float, env="MIN_P"),
    Option(
        ("--top-nsigma", "--top-n-sigma"),
        "top_n_sigma",
        "top-n-sigma sampling: keep logits within N standard deviations of the highest; -1: all (default: -1)",
        float,
    ),
    Option(
        ("--xtc-probability",),
        "xtc_probability",
        "XTC sampling: probability of removing all likely tokens but the least likely of them; 0: off (default: 0)",
        float,
    ),
    Option(("--xtc-threshold",), "xtc_threshold", "XTC sampling: tokens at least this probable count as likely; above 0.5: off (default: 0.1)", float),
    Option(
        ("--typical", "--typical-p"),
        "typical_p",
        "locally typical sampling: keep the tokens whose surprisal is nearest to the entropy, up to a total probability of N; 1: all (default: 1)",
        float,
    ),
    Option(("--repeat-last-n",), "repeat_last_n", "number of last tokens that the penalties look at; 0: none, -1: the context (default: 64)", int),
    Option(
        ("--repeat-penalty",),
        "repeat_penalty",
        "penalize repeated tokens: divide their logits by N, or multiply negative ones; 1: off (default: 1)",
        float,
        env="REPEAT_PENALTY",
    ),
    Option(
        ("--presence-penalty",),
        "presence_penalty",
        "subtract N from the logit of a token that has occurred; 0: off (default: 0)",
        float,
        env="PRESENCE_PENALTY",
    ),
    Option(
        ("--frequency-penalty",),
        "frequency_penalty",
        "subtract N from the logit of a token for each time it has occurred; 0: off (default: 0)",
        float,
        env="FREQUENCY_PENALTY",
    ),
    Option(
        ("--dry-multiplier",),
        "dry_multiplier",
        "DRY sampling: penalize a token that continues a repetition by multiplier * base^(length - allowed length); 0: off (default: 0)",
        float,
    ),
    Option(("--dry-base",), "dry_base", "DRY sampling: base of the penalty (default: 1.75)", float),
    Option(("--dry-allowed-length",), "dry_allowed_length", "DRY sampling: shorter repetitions are not penalized (default: 2)", int),
    Option(("--dry-penalty-last-n",), "dry_penalty_last_n", "DRY sampling: number of last tokens to search; 0: none, -1: the context (default: 64)", int),
    Option(
        ("--dry-sequence-breaker",),
        "dry_sequence_breakers",
        r'DRY sampling: text that a repetition does not cross; replaces the defaults (\n, :, ", *); none: no breakers; may be repeated',
        metavar="STRING",
        many=True,
    ),
    Option(
        ("--adaptive-target",),
        "adaptive_target",
        "adaptive-p sampling (when adaptive_p is among the samplers): average probability that chosen tokens are steered to; -1: off (default: -1)",
        float,
    ),
    Option(("--adaptive-decay",), "adaptive_decay", "adaptive-p sampling: decay of that average; larger reacts more slowly (default: 0.9)", float),
    Option(("--dynatemp-range",), "dynatemp_range", "dynamic temperature: the entropy moves it between temp - N and temp + N; 0: off (default: 0)", float),
    Option(("--dynatemp-exp",), "dynatemp_exponent", "dynamic temperature: exponent of the entropy (default: 1)", float),
    Option(("--mirostat",), "mirostat", "1: Mirostat, 2: Mirostat 2.0, in place of the other samplers; 0: off (default: 0)", int),
    Option(("--mirostat-lr",), "mirostat_eta", "Mirostat learning rate, eta (default: 0.1)", float),
    Option(("--mirostat-ent",), "mirostat_tau", "Mirostat target entropy, tau, in bits (default: 5)", float),
    Option(
        ("-l", "--logit-bias"),
        "logit_bias",
        "add a bias to a token's logit, e.g. 15043+1 or 15043-1; -inf forbids the token; may be repeated",
        metavar="TOKEN_ID(+/-)BIAS",
        many=True,
    ),
    Option(("--ignore-eos",), "ignore_eos", "never choose an end-of-generation token (EOS, EOT ...), so generation does not end by itself", bool, False),
)
GRAMMAR = Group(
    "grammar (give one of these)",
    Option(("--grammar",), "grammar", "GBNF grammar that constrains the generated text", metavar="GRAMMAR"),
    Option(("--grammar-file",), "grammar_file", "file to read the grammar from", metavar="FNAME"),
    Option(("-j", "--json-schema"), "json_schema", "JSON schema that constrains the generated text; {} for any JSON", metavar="SCHEMA"),
    Option(("-jf", "--json-schema-file"), "json_schema_file", "file to read the JSON schema from", metavar="FILE"),
)
CHAT = Group(
    "chat template and reasoning",
    Option(("-sys", "--system-prompt"), "system", "system prompt, if the chat template supports one", metavar="PROMPT"),
    Option(
        ("--chat-template",),
        "chat_template",
        "Jinja chat template, or the name of a built-in one (default: the model file's)",
        env="CHAT_TEMPLATE",
        metavar="JINJA|NAME",
    ),
    Option(("--chat-template-file",), "chat_template_file", "file to read the chat template from", env="CHAT_TEMPLATE_FILE", metavar="FNAME"),
    Option(
        ("--chat-template-kwargs",),
        "chat_template_kwargs",
        "extra variables for the chat template, as a JSON object",
        env="CHAT_TEMPLATE_KWARGS",
        metavar="JSON",
    ),
    Option(
        ("-rea", "--reasoning"),
        "reasoning",
        "turn reasoning (thinking) on or off, if the chat template can; auto: as the template does by default",
        default="auto",
        env="REASONING",
        metavar="on|off|auto",
    ),
    Option(
        ("--reasoning-format",),
        "reasoning_format",
        "none: leave reasoning in the answer's content; deepseek or auto: move it to reasoning_content; deepseek-legacy: both",
        default="auto",
        env="THINK",
        metavar="FORMAT",
    ),
    Option(("--reasoning-budget",), "reasoning_budget", "maximum number of reasoning tokens; -1: no limit, 0: no reasoning", int, -1, env="THINK_BUDGET"),
    Option(
        ("--reasoning-budget-message",),
        "reasoning_budget_message",
        "text to insert when the reasoning budget is used up, before the end of the reasoning",
        default="",
        metavar="MESSAGE",
    ),
)
COMPILE = Group(
    "compilation",
    Option(("--compile-cache",), "compile_cache", "folder for compiled programs (default: ~/.cache/jaxllama/xla)", metavar="DIR"),
    Option(("--no-compile-cache",), "no_compile_cache", "do not keep compiled programs on disk", bool, False),
)
