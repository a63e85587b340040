"""Options about the model's file, the context, and the process that runs it."""

from __future__ import annotations

from .kinds import SWITCH, one_of, path, real, text, whole
from .option import Group, Option, options_of

_QUANTIZED: dict[str, str] = dict.fromkeys(("q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"), "a quantized KV cache is")
CACHE_TYPE = one_of("f16", "bf16", "f32", later=_QUANTIZED, metavar="TYPE")
MOST_THREADS = 4096
_SCALE = real(1e-6, 1e6)  # beyond that no position is left that float32 tells from its neighbour
LOAD_MODE = one_of("auto", "none", "mmap", "mlock", "mmap+mlock", "dio", metavar="MODE")

MODEL = Group(
    "model",
    Option(("-m", "--model"), "model", "path of the GGUF file (default: the small story model in the package)", path(), env="MODEL"),
    Option(("-hf", "-hfr", "--hf-repo"), "hf_repo", "Hugging Face model repository: <user>/<model>[:quant]", text("REPO"), env="HF_REPO"),
    Option(("-hff", "--hf-file"), "hf_file", "file in that repository; overrides the quant of --hf-repo", text("FILE"), env="HF_FILE"),
    Option(("-hft", "--hf-token"), "hf_token", "Hugging Face access token (default: the one that `hf auth login` has stored)", text("TOKEN"), env="=HF_TOKEN"),
    Option(("--offline",), "offline", "use files that were downloaded before, without the network", env="OFFLINE"),
    Option(("--override-kv",), "override_kv", "override metadata of the file; TYPE is int, float, bool or str", text("KEY=TYPE:VALUE,..."), many=True),
    Option(
        ("-lm", "--load-mode"),
        "load_mode",
        "mmap: keep a copy of the weights in the kernels' memory layout in the cache folder and memory-map it, so that processes share it; "
        "none: convert the weights into this process's own memory; "
        "auto: mmap for models above 64 MB (mlock and dio are read as mmap and none)",
        LOAD_MODE,
        default="auto",
        env="LOAD_MODE",
        sets="load mode",
    ),
    Option(("--mmap",), "mmap", "the same as --load-mode mmap", off=("--no-mmap",), off_help="the same as --load-mode none", env="MMAP", sets="load mode"),
    Option(("--check-tensors",), "check_tensors", "check the tensor data for infinities and NaN when loading, and the copy of the weights in the cache folder"),
    *options_of("-mu/--model-url URL $MODEL_URL", later="downloading from any address is"),
    *options_of("-dr/--docker-repo REPO $DOCKER_REPO", later="downloading from Docker Hub is"),
)
EXACT = Option(("--exact",), "exact", "do not round activations to int8, compute in float32 throughout (slow)")
CONTEXT = Group(
    "context, KV cache and threads",
    Option(
        ("-c", "--ctx-size"),
        "n_ctx",
        "context size in tokens; 0: the model's training context (default: that, but at most 4096)",
        whole(0),
        env="CTX_SIZE",
    ),
    Option(("-b", "--batch-size"), "n_batch", "prompt tokens that are read at a time; the smaller of this and -ub counts", whole(1), 2048, env="BATCH"),
    Option(("-ub", "--ubatch-size"), "n_ubatch", "prompt tokens that one call of the model processes", whole(1), 512, env="UBATCH"),
    Option(
        ("-ctk", "--cache-type-k"),
        "cache_type",
        "data type of the KV cache: f16, bf16 or f32 (default: f16, with --exact f32)",
        CACHE_TYPE,
        env="CACHE_TYPE_K",
    ),
    Option(("-ctv", "--cache-type-v"), "cache_type_v", "the same for V; it must be K's type", CACHE_TYPE, env="CACHE_TYPE_V"),
    Option(
        ("-t", "--threads"),
        "threads",
        "number of CPU threads for kernels and XLA; 0 and -1: one for each CPU that the process may use",
        whole(-1, MOST_THREADS),
        -1,
        env="THREADS",
    ),
    EXACT,
)
ROPE = Group(
    "positions (the model file's own values by default)",
    Option(
        ("--rope-scaling",),
        "rope_scaling",
        "scaling of positions beyond the training context",
        one_of("none", "linear", "yarn", metavar="{none,linear,yarn}"),
        env="ROPE_SCALING_TYPE",
    ),
    Option(("--rope-scale",), "rope_scale", "expand the context by a factor of N", _SCALE, env="ROPE_SCALE", sets="scale"),
    Option(("--rope-freq-base",), "rope_freq_base", "base frequency", real(2), env="ROPE_FREQ_BASE"),
    Option(("--rope-freq-scale",), "rope_freq_scale", "expand the context by a factor of 1/N", _SCALE, env="ROPE_FREQ_SCALE", sets="scale"),
    Option(("--yarn-orig-ctx",), "yarn_orig_ctx", "YaRN: training context of the model", whole(0), env="YARN_ORIG_CTX"),
    Option(("--yarn-ext-factor",), "yarn_ext_factor", "YaRN: mix of extrapolation; 0: interpolation only", real(-1), env="YARN_EXT_FACTOR"),
    Option(("--yarn-attn-factor",), "yarn_attn_factor", "YaRN: scale of attention", real(), env="YARN_ATTN_FACTOR"),
    Option(("--yarn-beta-slow",), "yarn_beta_slow", "YaRN: high correction dimension, alpha", real(0.001), env="YARN_BETA_SLOW"),
    Option(("--yarn-beta-fast",), "yarn_beta_fast", "YaRN: low correction dimension, beta", real(0.001), env="YARN_BETA_FAST"),
)
COMPILE = Group(
    "compilation",
    Option(("--compile-cache",), "compile_cache", "folder for compiled programs (default: ~/.cache/jaxllama/xla)", path("DIR")),
    Option(("--no-compile-cache",), "no_compile_cache", "do not keep compiled programs on disk", SWITCH),
)
LOG = Group(
    "messages on stderr",
    Option(
        ("-lv", "--verbosity", "--log-verbosity"),
        "verbosity",
        "0 and 1: errors, 2: warnings, 3: information, 5: details",
        whole(),
        3,
        env="LOG_VERBOSITY",
        sets="level",
    ),
    Option(("-v", "--verbose", "--log-verbose"), "verbose", "show everything", sets="level"),
    Option(("--log-disable",), "log_disable", "show errors only"),
    Option(("--log-file",), "log_file", "write messages and text to a file too", path(), env="LOG_FILE"),
    Option(
        ("--log-colors",),
        "log_colors",
        "colors; auto: on a terminal",
        one_of("on", "off", "auto", metavar="[on|off|auto]"),
        "auto",
        env="LOG_COLORS",
    ),
    Option(
        ("--log-prefix",), "log_prefix", "begin each message with its level", env="LOG_PREFIX", off=("--no-log-prefix",), off_help="do not begin it with that"
    ),
    Option(
        ("--log-timestamps",),
        "log_timestamps",
        "begin it with the time since the start",
        env="LOG_TIMESTAMPS",
        off=("--no-log-timestamps",),
        off_help="do not begin it with that",
    ),
    Option(("--log-jsonl",), "log_jsonl", "write each message as an object of JSON", env="LOG_JSONL", off=("--no-log-jsonl",), off_help="as text"),
)
