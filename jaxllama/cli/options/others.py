"""Options of every verb: those that inform, llama.cpp's that change nothing here, and those of capabilities that are still to come."""

from __future__ import annotations

from .kinds import one_of
from .option import Group, Option, options_of

_SPLIT: dict[str, str] = dict.fromkeys(("row", "tensor"), "using several devices is")
_SPECULATIVE = "speculative decoding is"
_IMAGES = "reading images and sound is"

INFORM = Group(
    "information",
    Option(("-h", "--help", "--usage"), "help", "show this help"),
    Option(("--version",), "version", "show the version"),
    Option(("-cl", "--cache-list"), "cache_list", "list the models that were downloaded"),
    Option(("--list-devices",), "list_devices", "list JAX's devices"),
    Option(("--completion-bash",), "completion_bash", "print completion for bash: source <(jaxllama --completion-bash)"),
)
# For every verb that loads a model: llama.cpp's common options.
IDLE = Group(
    "without effect",
    *options_of(
        """
        -ngl/--gpu-layers/--n-gpu-layers AUTO|ALL|N $N_GPU_LAYERS
        -mg/--main-gpu INDEX $MAIN_GPU
        -dev/--device DEVICES $DEVICE
        -ot/--override-tensor PATTERN=TYPE,... $OVERRIDE_TENSOR
        -cmoe/--cpu-moe $CPU_MOE
        -ncmoe/--n-cpu-moe LAYERS $N_CPU_MOE
        -ncffn/--n-cpu-ffn LAYERS $N_CPU_FFN
        -fit/--fit [on|off] $FIT
        -fitt/--fit-target MIB,... $FIT_TARGET
        -fitc/--fit-ctx N $FIT_CTX
        -kvo/--kv-offload !-nkvo/--no-kv-offload $KV_OFFLOAD
        --op-offload !--no-op-offload
        --no-host $NO_HOST
        """,
        idle="the whole model is on JAX's first device (JAX_PLATFORMS=cpu takes the CPU)",
    ),
    Option(
        ("-sm", "--split-mode"),
        "split_mode",
        kind=one_of("none", "layer", later=_SPLIT, metavar="MODE"),
        env="SPLIT_MODE",
        idle="the whole model is on JAX's first device (JAX_PLATFORMS=cpu takes the CPU)",
    ),
    *options_of("-fa/--flash-attn [on|off|auto] $FLASH_ATTN", idle="attention always works block by block, as flash attention does"),
    *options_of("-tb/--threads-batch N", idle="the threads of -t read prompts too"),
    *options_of(
        """
        -C/--cpu-mask M
        -Cr/--cpu-range LO-HI
        --cpu-strict 0|1
        --prio PRIO
        --poll 0...100
        -Cb/--cpu-mask-batch M
        -Crb/--cpu-range-batch LO-HI
        --cpu-strict-batch 0|1
        --prio-batch PRIO_BATCH
        --poll-batch 0|1
        --numa distribute|isolate|numactl $NUMA
        """,
        idle="the operating system places the threads (`taskset`, `nice` and `numactl` tell it how)",
    ),
    *options_of("--mlock $MLOCK", idle="weights stay in memory while they are in use"),
    *options_of("-lzm/--lazy-mode on|auto|off $LAZY_MODE", idle="weights that are memory-mapped (-lm mmap) are always read when they are needed"),
    *options_of("--repack !-nr/--no-repack $REPACK", idle="weights are always in the kernels' memory layout"),
    *options_of("--swa-full $SWA_FULL", idle="the KV cache always keeps all positions"),
    *options_of("-dt/--defrag-thold THRESHOLD $DEFRAG_THOLD", idle="the KV cache is never fragmented"),
    *options_of("-np/--parallel N $N_PARALLEL", idle="how many sequences are read at a time follows from -b"),
    *options_of("--keep N", idle="it counts when the context shifts, which is not supported yet"),
    *options_of("-bs/--backend-sampling $BACKEND_SAMPLING", idle="sampling always runs on the device"),
    *options_of("-dkvc/--dump-kv-cache", idle="llama.cpp has removed it"),
)
LATER = Group(
    "not supported yet",
    *options_of("-ts/--tensor-split N0,N1,... $TENSOR_SPLIT", later="using several devices is"),
    *options_of("--rpc SERVERS $RPC", later="using several machines is"),
    *options_of("--lora FNAME\n--lora-scaled FNAME:SCALE,...", later="applying LoRA adapters is"),
    *options_of("--control-vector FNAME\n--control-vector-scaled FNAME:SCALE,...\n--control-vector-layer-range START END", later="applying control vectors is"),
    *options_of(
        """
        --spec-draft-type-k/-ctkd/--cache-type-k-draft TYPE $SPEC_DRAFT_CACHE_TYPE_K
        --spec-draft-type-v/-ctvd/--cache-type-v-draft TYPE $SPEC_DRAFT_CACHE_TYPE_V
        """,
        later=_SPECULATIVE,
    ),
)
CONTEXT_SHIFT = Group("not supported yet", *options_of("--context-shift !--no-context-shift $CONTEXT_SHIFT", later="shifting the context is"))
UNIFIED = Group("without effect", *options_of("-kvu/--kv-unified !-no-kvu/--no-kv-unified $KV_UNIFIED", idle="every sequence has a KV cache of its own"))
# For the verbs that generate text.
CHAT_IDLE = Group(
    "without effect",
    *options_of("--warmup !--no-warmup", idle="programs are compiled before the text begins"),
    *options_of(
        """
        -ctxcp/--ctx-checkpoints/--swa-checkpoints N $CTX_CHECKPOINTS
        -cram/--cache-ram N $CACHE_RAM
        """,
        idle="the KV cache of the conversation is always kept",
    ),
    *options_of(  # llama.cpp's defaults, where there is no projector
        """
        --mmproj-auto !--no-mmproj/--no-mmproj-auto $MMPROJ_AUTO
        --mmproj-offload !--no-mmproj-offload $MMPROJ_OFFLOAD
        """,
        idle="no projector is looked for: reading images and sound is not supported yet",
    ),
)
CHAT_LATER = Group(
    "not supported yet",
    *CONTEXT_SHIFT,
    *options_of("-gan/--grp-attn-n N $GRP_ATTN_N\n-gaw/--grp-attn-w N $GRP_ATTN_W", later="extending the context with grouped attention is"),
    *options_of("--server-base URL", later="chatting with a server is"),
    *options_of("--log-prompts-dir PATH", later="writing prompts to a folder is"),
    *options_of(
        """
        -mm/--mmproj FILE $MMPROJ
        -mmu/--mmproj-url URL $MMPROJ_URL
        -mmdev/--mmproj-device DEVICE $=MTMD_BACKEND_DEVICE
        --image/--audio/--video FILE
        --image-min-tokens N $IMAGE_MIN_TOKENS
        --image-max-tokens N $IMAGE_MAX_TOKENS
        --video-fps N $VIDEO_FPS
        --video-timestamp-interval N $VIDEO_TIMESTAMP_INTERVAL
        --video-ffmpeg-dir DIR $VIDEO_FFMPEG_DIR
        --vision-gemma-4b-default
        --vision-gemma-12b-default
        """,
        later=_IMAGES,
    ),
    *options_of("--gpt-oss-20b-default\n--gpt-oss-120b-default", later="the architecture gpt-oss is"),
    *options_of(
        """
        --spec-draft-hf/-hfd/-hfrd/--hf-repo-draft REPO $SPEC_DRAFT_HF_REPO
        --spec-draft-model/-md/--model-draft/--draft-model FNAME $SPEC_DRAFT_MODEL
        --spec-draft-threads/-td/--threads-draft N
        --spec-draft-threads-batch/-tbd/--threads-batch-draft N
        --spec-draft-cpu-mask/-Cd/--cpu-mask-draft M
        --spec-draft-cpu-range/-Crd/--cpu-range-draft LO-HI
        --spec-draft-cpu-strict/--cpu-strict-draft 0|1
        --spec-draft-prio/--prio-draft N
        --spec-draft-poll/--poll-draft 0|1
        --spec-draft-cpu-mask-batch/-Cbd/--cpu-mask-batch-draft M
        --spec-draft-cpu-range-batch/-Crbd/--cpu-range-batch-draft LO-HI
        --spec-draft-cpu-strict-batch/--cpu-strict-batch-draft 0|1
        --spec-draft-prio-batch/--prio-batch-draft N
        --spec-draft-poll-batch/--poll-batch-draft 0|1
        --spec-draft-override-tensor/-otd/--override-tensor-draft PATTERN=TYPE
        --spec-draft-cpu-moe/-cmoed/--cpu-moe-draft $SPEC_DRAFT_CPU_MOE
        --spec-draft-n-cpu-moe/--spec-draft-ncmoe/-ncmoed/--n-cpu-moe-draft N $SPEC_DRAFT_N_CPU_MOE
        --spec-draft-n-max/--draft/--draft-n/--draft-max N $SPEC_DRAFT_N_MAX
        --spec-draft-n-min/--draft-min/--draft-n-min N $SPEC_DRAFT_N_MIN
        --spec-synth-len L $SPEC_SYNTH_LEN
        --spec-synth-rates P0,P1,... $SPEC_SYNTH_RATES
        --spec-draft-p-split/--draft-p-split P $SPEC_DRAFT_P_SPLIT
        --spec-draft-p-min/--draft-p-min P $SPEC_DRAFT_P_MIN
        --spec-draft-backend-sampling !--no-spec-draft-backend-sampling $SPEC_DRAFT_BACKEND_SAMPLING
        --spec-draft-device/-devd/--device-draft DEVICES
        --spec-draft-ngl/-ngld/--gpu-layers-draft/--n-gpu-layers-draft N $N_GPU_LAYERS_DRAFT
        --spec-type TYPE $SPEC_TYPE
        --spec-ngram-mod-n-min N
        --spec-ngram-mod-n-max N
        --spec-ngram-mod-n-match N
        --spec-ngram-simple-size-n N
        --spec-ngram-simple-size-m N
        --spec-ngram-simple-min-hits N
        --spec-ngram-map-k-size-n N
        --spec-ngram-map-k-size-m N
        --spec-ngram-map-k-min-hits N
        --spec-ngram-map-k4v-size-n N
        --spec-ngram-map-k4v-size-m N
        --spec-ngram-map-k4v-min-hits N
        --spec-ngram-size-n N
        --spec-ngram-size-m N
        --spec-ngram-min-hits N
        -cd/--ctx-size-draft N
        --spec-default
        """,
        later=_SPECULATIVE,
    ),
)
