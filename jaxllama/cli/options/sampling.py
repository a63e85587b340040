"""Options about sampling, and about grammars."""

from __future__ import annotations

from .kinds import path, real, text, whole
from .option import Group, Option

# A value that is not given is taken from the file's general.sampling.*, and if it is not there either, is llama.cpp's default.
SAMPLING = Group(
    "sampling (the model file may recommend other defaults)",
    Option(
        ("--samplers",),
        "samplers",
        "samplers to use, in this order, separated by ';' (default: penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature)",
        text("SAMPLERS"),
        sets="samplers",
    ),
    Option(
        ("--sampler-seq", "--sampling-seq"),
        "sampler_seq",
        "the same, one letter each: e penalties, d dry, s top_n_sigma, k top_k, y typ_p, p top_p, m min_p, x xtc, t temperature, "
        "i infill, a adaptive_p (default: edskypmxt)",
        text("SEQUENCE"),
        sets="samplers",
    ),
    Option(("-s", "--seed"), "seed", "random seed; -1: a different one each time", whole(-1, 2**32 - 1), -1),
    Option(("--temp", "--temperature"), "temperature", "temperature; 0: always the most likely token (default: 0.8)", real(), env="TEMPERATURE"),
    Option(("--top-k",), "top_k", "top-k sampling: keep the k most likely tokens; 0: all (default: 40)", whole(), env="TOP_K"),
    Option(
        ("--top-p",),
        "top_p",
        "top-p sampling: keep the fewest most likely tokens whose probabilities sum to N; 1: all (default: 0.95)",
        real(),
        env="TOP_P",
    ),
    Option(("--min-p",), "min_p", "min-p sampling: keep tokens at least N times as likely as the most likely one; 0: all (default: 0.05)", real(), env="MIN_P"),
    Option(
        ("--top-nsigma", "--top-n-sigma"),
        "top_n_sigma",
        "top-n-sigma sampling: keep logits within N standard deviations of the highest; -1: all (default: -1)",
        real(),
    ),
    Option(
        ("--xtc-probability",),
        "xtc_probability",
        "XTC sampling: probability of removing all likely tokens but the least likely of them; 0: off (default: 0)",
        real(),
    ),
    Option(("--xtc-threshold",), "xtc_threshold", "XTC sampling: tokens at least this probable count as likely; above 0.5: off (default: 0.1)", real()),
    Option(
        ("--typical", "--typical-p"),
        "typical_p",
        "locally typical sampling: keep the tokens whose surprisal is nearest to the entropy, up to a total probability of N; 1: all (default: 1)",
        real(),
    ),
    Option(("--repeat-last-n",), "repeat_last_n", "number of last tokens that the penalties look at; 0: none, -1: the context (default: 64)", whole(-1)),
    Option(
        ("--repeat-penalty",),
        "repeat_penalty",
        "penalize repeated tokens: divide their logits by N, or multiply negative ones; 1: off (default: 1)",
        real(above=0),
        env="REPEAT_PENALTY",
    ),
    Option(
        ("--presence-penalty",),
        "presence_penalty",
        "subtract N from the logit of a token that has occurred; 0: off (default: 0)",
        real(),
        env="PRESENCE_PENALTY",
    ),
    Option(
        ("--frequency-penalty",),
        "frequency_penalty",
        "subtract N from the logit of a token for each time it has occurred; 0: off (default: 0)",
        real(),
        env="FREQUENCY_PENALTY",
    ),
    Option(
        ("--dry-multiplier",),
        "dry_multiplier",
        "DRY sampling: penalize a token that continues a repetition by multiplier * base^(length - allowed length); 0: off (default: 0)",
        real(),
    ),
    Option(("--dry-base",), "dry_base", "DRY sampling: base of the penalty (default: 1.75)", real()),
    Option(("--dry-allowed-length",), "dry_allowed_length", "DRY sampling: shorter repetitions are not penalized (default: 2)", whole()),
    Option(("--dry-penalty-last-n",), "dry_penalty_last_n", "DRY sampling: number of last tokens to search; 0: none, -1: the context (default: 64)", whole(-1)),
    Option(
        ("--dry-sequence-breaker",),
        "dry_sequence_breakers",
        r'DRY sampling: text that a repetition does not cross; replaces the defaults (\n, :, ", *); none: no breakers; may be repeated',
        text("STRING"),
        many=True,
    ),
    Option(
        ("--adaptive-target",),
        "adaptive_target",
        "adaptive-p sampling (when adaptive_p is among the samplers): average probability that chosen tokens are steered to; -1: off (default: -1)",
        real(),
    ),
    Option(("--adaptive-decay",), "adaptive_decay", "adaptive-p sampling: decay of that average; larger reacts more slowly (default: 0.9)", real()),
    Option(("--dynatemp-range",), "dynatemp_range", "dynamic temperature: the entropy moves it between temp - N and temp + N; 0: off (default: 0)", real()),
    Option(("--dynatemp-exp",), "dynatemp_exponent", "dynamic temperature: exponent of the entropy (default: 1)", real()),
    Option(("--mirostat",), "mirostat", "1: Mirostat, 2: Mirostat 2.0, in place of the other samplers; 0: off (default: 0)", whole(0, 2)),
    Option(("--mirostat-lr",), "mirostat_eta", "Mirostat learning rate, eta (default: 0.1)", real()),
    Option(("--mirostat-ent",), "mirostat_tau", "Mirostat target entropy, tau, in bits (default: 5)", real()),
    Option(
        ("-l", "--logit-bias"),
        "logit_bias",
        "add a bias to a token's logit, e.g. 15043+1 or 15043-1; -inf forbids the token; may be repeated",
        text("TOKEN_ID(+/-)BIAS"),
        many=True,
    ),
    Option(("--ignore-eos",), "ignore_eos", "never choose an end-of-generation token (EOS, EOT ...), so generation does not end by itself"),
)
GRAMMAR = Group(
    "grammar (the last of these counts)",
    Option(("--grammar",), "grammar", "GBNF grammar that constrains the generated text", text("GRAMMAR"), sets="grammar"),
    Option(("--grammar-file",), "grammar_file", "file to read the grammar from", path(), sets="grammar"),
    Option(("-j", "--json-schema"), "json_schema", "JSON schema that constrains the generated text; {} for any JSON", text("SCHEMA"), sets="grammar"),
    Option(("-jf", "--json-schema-file"), "json_schema_file", "file to read the JSON schema from", path("FILE"), sets="grammar"),
)
