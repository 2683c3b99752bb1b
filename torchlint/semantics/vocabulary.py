"""What the API of torch and of its training frameworks means, as data. Facts about names only; no syntax, no flow.

Sources: the documentation of torch 2.13 (torch.nn, torch.optim, torch.utils.data, torch.amp), and the frameworks' own.
"""

from __future__ import annotations

from torchlint.semantics import frameworks

# Where public names are also reachable, longest first.
_ALIASES = (
    ("torch.nn.modules.module.Module", "torch.nn.Module"),
    ("torch.nn.parameter.", "torch.nn."),
    ("torch.utils.data.dataloader.", "torch.utils.data."),
    ("torch.utils.data.dataset.", "torch.utils.data."),
    ("torch.utils.data.distributed.", "torch.utils.data."),
    ("torch.utils.data.sampler.", "torch.utils.data."),
    ("torch.autograd.grad_mode.", "torch."),
    ("torch.autograd.no_grad", "torch.no_grad"),
    ("torch.autograd.enable_grad", "torch.enable_grad"),
    ("torch.autograd.set_grad_enabled", "torch.set_grad_enabled"),
    ("torch.autograd.inference_mode", "torch.inference_mode"),
    ("torch.cuda.amp.grad_scaler.", "torch.cuda.amp."),
    ("torch.cuda.amp.autocast_mode.", "torch.cuda.amp."),
    ("torch.amp.grad_scaler.", "torch.amp."),
    ("torch.amp.autocast_mode.", "torch.amp."),
    ("torch.autocast", "torch.amp.autocast"),
    ("torch.GradScaler", "torch.amp.GradScaler"),
    ("torch.distributed.fsdp.sharded_grad_scaler.ShardedGradScaler", "torch.amp.GradScaler"),
    ("torch.nn.parallel.distributed.", "torch.nn.parallel."),
    ("torch.nn.utils.clip_grad.", "torch.nn.utils."),
    ("torch.serialization.", "torch."),
    ("torch.types.Device", "torch.device"),
)
_NN_MODULES = "torch.nn.modules."


def canonical(path: str) -> str:
    """A dotted name as the documentation spells it: `torch.nn.modules.conv.Conv2d` -> `torch.nn.Conv2d`."""
    if not path.startswith("torch."):
        return frameworks.canonical(path)
    for old, new in _ALIASES:
        if path.startswith(old):
            return new + path[len(old) :]
    if path.startswith(_NN_MODULES):
        return "torch.nn." + path.rsplit(".", 1)[1]
    if path.startswith("torch.optim.") and path.count(".") == 3 and not path.startswith("torch.optim.lr_scheduler."):
        last = path.rsplit(".", 1)[1]
        if last[:1].isupper():
            return "torch.optim." + last
    return path


# ------------------------------------------------------------------------------------------------------------ modules

# Capitalised names in torch.nn that are no modules.
_NOT_MODULES = frozenset({"Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer", "Sequence", "Tensor"})

# Bases from well-known libraries whose classes are torch modules.
MODULE_BASES = frameworks.MODULES | {"torch.jit.ScriptModule", "torch.nn.Module"}

# Modules whose output depends on the mode: random, or normalised by the batch.
_DROPOUTS = frozenset(
    {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout", "RReLU"}
)
_BATCH_NORMS = frozenset(
    {
        "BatchNorm1d",
        "BatchNorm2d",
        "BatchNorm3d",
        "SyncBatchNorm",
        "LazyBatchNorm1d",
        "LazyBatchNorm2d",
        "LazyBatchNorm3d",
    }
)
# Modules with a dropout of 0.1 unless told otherwise.
_DROPOUT_BY_DEFAULT = frozenset({"Transformer", "TransformerEncoderLayer", "TransformerDecoderLayer"})
_DROPOUT_BY_KEYWORD = frozenset({"LSTM", "GRU", "RNN", "MultiheadAttention"})
_WITHOUT_PARAMETERS = frozenset(
    """
    ReLU ReLU6 LeakyReLU ELU SELU CELU GELU Sigmoid Tanh Softmax LogSoftmax Softmax2d Softplus Softsign Hardtanh
    Hardswish Hardsigmoid SiLU Mish Threshold GLU LogSigmoid Identity Flatten Unflatten MaxPool1d MaxPool2d
    MaxPool3d AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d
    AdaptiveMaxPool2d AdaptiveMaxPool3d Upsample UpsamplingNearest2d UpsamplingBilinear2d PixelShuffle
    PixelUnshuffle ZeroPad1d ZeroPad2d ZeroPad3d ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d
    ReplicationPad2d ReplicationPad3d ConstantPad1d ConstantPad2d ConstantPad3d Dropout Dropout1d Dropout2d
    Dropout3d AlphaDropout CosineSimilarity PairwiseDistance Fold Unfold
    """.split()
)
CONTAINERS = frozenset({"torch.nn.Sequential", "torch.nn.ModuleList", "torch.nn.ModuleDict"})

# Wrappers around a model that share its parameters, mode and gradients: the same object for every rule.
SAME_MODEL = frozenset(
    """
    torch.nn.DataParallel torch.nn.parallel.DataParallel torch.nn.parallel.DistributedDataParallel
    torch.nn.parallel.data_parallel.DataParallel torch.compile torch.jit.script
    torch.nn.SyncBatchNorm.convert_sync_batchnorm apex.parallel.DistributedDataParallel
    apex.parallel.convert_syncbn_model torch.distributed.fsdp.fully_shard torch.nn.utils.weight_norm
    torch.nn.utils.spectral_norm torch.nn.utils.parametrizations.weight_norm
    torch.nn.utils.parametrizations.spectral_norm
    """.split()
)

# Wrappers that synchronise gradients between processes, and those of them that put their own parameters in place of the
# model's.
DDP = frozenset({"torch.nn.parallel.DistributedDataParallel"})
FSDP = frozenset(
    """
    torch.distributed.fsdp.FullyShardedDataParallel
    torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel torch.distributed.fsdp.fully_shard
    torch.distributed._composable.fsdp.fully_shard torch.distributed._composable.fully_shard
    """.split()
)
DISTRIBUTED_SAMPLERS = frozenset({"torch.utils.data.DistributedSampler"})
# Keywords that loaders of every library take a sampler by.
SAMPLER_KEYWORDS = ("sampler", "batch_sampler")

MODULE_CLASS_METHODS = frozenset(
    """
    add_module apply bfloat16 buffers children compile cpu cuda double eval extra_repr float forward get_buffer
    get_parameter get_submodule half ipu load_state_dict modules named_buffers named_children named_modules
    named_parameters parameters register_backward_hook register_buffer register_forward_hook
    register_forward_pre_hook register_full_backward_hook register_module register_parameter requires_grad_
    set_submodule share_memory state_dict to to_empty train type xpu zero_grad
    """.split()
)


def is_module_api(path: str) -> bool:
    """True when `path` names a class of torch.nn that is a module."""
    if not path.startswith("torch.nn."):
        return False
    last = path[9:]
    return "." not in last and last.lstrip("_")[:1].isupper() and last not in _NOT_MODULES


def is_loss_api(path: str) -> bool:
    return path.startswith("torch.nn.") and path.endswith("Loss")


def mode_dependent(path: str, dropout: object) -> bool | None:
    """Whether a torch.nn class computes differently in training mode; `dropout` is the constant it was given, if any.

    None: it depends on an argument that is not known.
    """
    last = path.rsplit(".", 1)[1]
    if last in _BATCH_NORMS:
        return True
    if last in _DROPOUTS or last in _DROPOUT_BY_DEFAULT:
        return dropout not in (0, 0.0) if dropout is not Ellipsis else None
    if last in _DROPOUT_BY_KEYWORD:
        return None if dropout is Ellipsis else dropout not in (None, 0, 0.0)
    return False


def has_parameters(path: str) -> bool:
    """Whether a torch.nn class that is no container holds parameters or buffers of its own."""
    return path.rsplit(".", 1)[1] not in _WITHOUT_PARAMETERS and not is_loss_api(path)


# --------------------------------------------------------------------------------------------------------- optimizers

_OPTIMIZER_PACKAGES = (
    "torch_optimizer.",
    "apex.optimizers.",
    "bitsandbytes.optim.",
    "pytorch_optimizer.",
    "dadaptation.",
)
_OPTIMIZERS = frozenset(
    """
    transformers.AdamW transformers.optimization.AdamW transformers.Adafactor transformers.optimization.Adafactor
    lion_pytorch.Lion torch.distributed.optim.ZeroRedundancyOptimizer
    """.split()
)


def is_optimizer_api(path: str) -> bool:
    """True for the optimizers of torch.optim and of libraries that keep its interface."""
    if path.startswith("torch.optim."):
        last = path[12:]
        return "." not in last and last[:1].isupper() and last != "Optimizer"
    last = path.rsplit(".", 1)[-1]
    return path in _OPTIMIZERS or (path.startswith(_OPTIMIZER_PACKAGES) and last[:1].isupper())


def is_scheduler_api(path: str) -> bool:
    """True for the classes of torch.optim.lr_scheduler and for the functions of transformers that make one."""
    if path.startswith("transformers."):
        last = path.rsplit(".", 1)[1]
        return last == "get_scheduler" or (last.startswith("get_") and last.endswith(("_schedule", "_with_warmup")))
    return path.startswith("torch.optim.lr_scheduler.") and path[25:26].isupper()


# Schedulers made of others, which they step.
SCHEDULERS_OF_SCHEDULERS = frozenset(
    {"torch.optim.lr_scheduler.SequentialLR", "torch.optim.lr_scheduler.ChainedScheduler"}
)


# ------------------------------------------------------------------------------------------------------------ tensors

# Factories that make a tensor on the CPU unless `device=` (or a default device) says otherwise -> dimensions of the
# result where the call's form tells them: "shape" from positional sizes, an int when fixed, None when unknown.
FACTORIES: dict[str, str | int | None] = {
    "torch.zeros": "shape",
    "torch.ones": "shape",
    "torch.empty": "shape",
    "torch.rand": "shape",
    "torch.randn": "shape",
    "torch.full": "first",
    "torch.randint": "size",
    "torch.normal": "size",
    "torch.eye": 2,
    "torch.arange": 1,
    "torch.range": 1,
    "torch.linspace": 1,
    "torch.logspace": 1,
    "torch.randperm": 1,
    "torch.tensor": "data",
    "torch.hann_window": 1,
    "torch.hamming_window": 1,
    "torch.blackman_window": 1,
    "torch.tril_indices": 2,
    "torch.triu_indices": 2,
    "torch.Tensor": "shape",
    "torch.FloatTensor": "shape",
    "torch.LongTensor": "shape",
    "torch.IntTensor": "shape",
    "torch.DoubleTensor": "shape",
    "torch.ByteTensor": "shape",
    "torch.BoolTensor": "shape",
    "torch.HalfTensor": "shape",
}
# On the CPU by nature of what they read.
FROM_CPU = frozenset({"torch.from_numpy", "torch.frombuffer"})

# Functions of torch that take tensors and combine them: all operands must share a device.
COMBINING = frozenset(
    """
    cat concat concatenate stack hstack vstack dstack where matmul mm bmm mv dot einsum add sub subtract mul
    multiply div divide true_divide addmm addmv addbmm baddbmm addcmul addcdiv maximum minimum pow atan2 lerp cdist
    cross outer ger kron logaddexp eq ne lt le gt ge logical_and logical_or bitwise_and bitwise_or fmod remainder
    tensordot inner
    """.split()
)
# Functional losses: output first, target second.
FUNCTIONAL_LOSSES = frozenset(
    """
    cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy
    binary_cross_entropy_with_logits kl_div poisson_nll_loss gaussian_nll_loss hinge_embedding_loss
    margin_ranking_loss cosine_embedding_loss soft_margin_loss multi_margin_loss multilabel_margin_loss
    multilabel_soft_margin_loss triplet_margin_loss ctc_loss
    """.split()
)
# Losses as modules -> the function that each of them calls; only those of an output and a target.
LOSS_MODULES = {
    "CrossEntropyLoss": "cross_entropy",
    "NLLLoss": "nll_loss",
    "NLLLoss2d": "nll_loss",
    "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "MSELoss": "mse_loss",
    "L1Loss": "l1_loss",
    "SmoothL1Loss": "smooth_l1_loss",
    "HuberLoss": "huber_loss",
    "KLDivLoss": "kl_div",
    "PoissonNLLLoss": "poisson_nll_loss",
    "HingeEmbeddingLoss": "hinge_embedding_loss",
    "SoftMarginLoss": "soft_margin_loss",
    "MultiMarginLoss": "multi_margin_loss",
    "MultiLabelMarginLoss": "multilabel_margin_loss",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
}
LOSS_FUNCTIONS = frozenset(LOSS_MODULES.values())
# What a tensor can be told to be the result of: functions, tensor methods and layers -> one name for each operation.
OPERATIONS = {
    "softmax": "softmax",
    "Softmax": "softmax",
    "Softmax2d": "softmax",
    "log_softmax": "log_softmax",
    "LogSoftmax": "log_softmax",
    "sigmoid": "sigmoid",
    "Sigmoid": "sigmoid",
    "expit": "sigmoid",
    "logsigmoid": "log_sigmoid",
    "LogSigmoid": "log_sigmoid",
    "tanh": "tanh",
    "Tanh": "tanh",
    "relu": "relu",
    "ReLU": "relu",
    "relu6": "relu",
    "ReLU6": "relu",
    "leaky_relu": "leaky_relu",
    "LeakyReLU": "leaky_relu",
    "elu": "elu",
    "ELU": "elu",
    "gelu": "gelu",
    "GELU": "gelu",
    "silu": "silu",
    "SiLU": "silu",
    "softplus": "softplus",
    "Softplus": "softplus",
    "linear": "linear",
    "Linear": "linear",
    "bilinear": "linear",
    "Bilinear": "linear",
    "LazyLinear": "linear",
    "conv1d": "conv",
    "conv2d": "conv",
    "conv3d": "conv",
    "Conv1d": "conv",
    "Conv2d": "conv",
    "Conv3d": "conv",
    "exp": "exp",
    "log": "log",
}
# Of these, what tensors have as methods.
OPERATION_METHODS = frozenset({"softmax", "log_softmax", "sigmoid", "tanh", "relu", "exp", "log"})
# Functions and methods that leave the numbers of a tensor as they are, each of them once.
RESHAPING = frozenset(
    """
    view reshape squeeze unsqueeze flatten ravel permute transpose swapaxes movedim contiguous unflatten view_as
    reshape_as t clone
    """.split()
)
# Functions, methods and layers that compute each number by itself: the shape stays.
ELEMENTWISE = frozenset(
    """
    relu relu6 leaky_relu elu selu celu gelu silu tanh sigmoid softplus dropout clamp abs exp log sqrt float half
    double ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Tanh Sigmoid Softplus Dropout Identity
    """.split()
)
KEEPING_LAYERS = frozenset({"Identity", "Flatten", "Unflatten"})
# Functions that drop at random whenever they are not told otherwise.
FUNCTIONAL_DROPOUTS = frozenset(
    """
    torch.nn.functional.dropout torch.nn.functional.dropout1d torch.nn.functional.dropout2d
    torch.nn.functional.dropout3d torch.nn.functional.scaled_dot_product_attention torch.dropout
    """.split()
)
# Methods that return a new tensor and leave the receiver as it is.
MOVES = frozenset({"to", "cuda", "cpu", "xpu", "mps", "npu", "hpu"})
CASTS = frozenset(
    {"float", "half", "double", "bfloat16", "long", "int", "short", "bool", "byte", "char", "type", "type_as"}
)
# Methods that compute a new tensor, or a new view, and are called for nothing else.
PURE_METHODS = frozenset(
    """
    abs acos add asin atan ceil clamp clamp_max clamp_min clip contiguous cos cumprod cumsum div exp expand
    expand_as expm1 fill flatten flip floor gather index_add index_fill index_select lerp log log10 log1p log2
    log_softmax masked_fill masked_scatter movedim mul nan_to_num neg permute pin_memory pow reciprocal relu repeat
    reshape roll round rsqrt scatter scatter_add sigmoid sign sin softmax sqrt square squeeze sub swapaxes t tanh
    transpose tril triu trunc unflatten unsqueeze view view_as where
    """.split()
)
# Of those, the ones that no object of another kind changes itself by, whatever they are called with ...
PURE_ANYWHERE = frozenset({"unsqueeze", "permute", "masked_fill"})
# ... and those where a number among the arguments shows that a shape is meant.
PURE_WITH_SHAPE = frozenset({"view", "reshape", "expand"})
# Functions that do the same; with `out=` or `inplace=` they do more.
PURE_FUNCTIONS = frozenset(
    f"torch.{name}"
    for name in (PURE_METHODS | {"cat", "stack", "concat"})
    - {"expand", "expand_as", "view", "view_as", "repeat", "contiguous"}
) | {f"torch.nn.functional.{name}" for name in ("normalize", "pad", "softmax", "log_softmax", "one_hot", "interpolate")}
# Methods whose result no longer carries the graph.
DETACHING = frozenset({"detach", "item", "tolist", "numpy", "argmax", "argmin", "argsort"})
# Those that make whole numbers or truth values of what they are given, which have no gradient.
INTEGER_CASTS = frozenset({"long", "int", "short", "bool", "byte", "char"})
INTEGERS = frozenset(f"torch.{name}" for name in ("long", "int", "int8", "int16", "int32", "int64", "uint8", "bool"))
COMPARING = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "isclose", "logical_and", "logical_or"})
# Functions that are constant but for steps: their gradient is zero everywhere, or they have none.
STEPPING = frozenset(
    {"round", "floor", "ceil", "trunc", "sign", "any", "all", "isnan", "isinf", "isfinite", "logical_not", "nonzero"}
)
# Methods that only a tensor has: one of them on a name makes it a tensor.
TENSOR_ONLY = frozenset(
    """
    backward requires_grad_ permute unsqueeze squeeze view contiguous detach numel repeat_interleave masked_fill
    masked_fill_ scatter_ index_select gather expand expand_as new_zeros new_ones new_full new_empty clamp softmax
    log_softmax sigmoid is_cuda is_contiguous view_as transpose flatten unfold unbind chunk cumsum argmax topk bmm
    matmul
    """.split()
)
# What a tensor is asked for: evidence that a name is one where its class is not known.
TENSOR_HINTS = TENSOR_ONLY | frozenset(
    {"[,]", "size", "shape", "device", "dtype", "dim", "ndim", "type_as", "float", "long", "is_sparse"}
)

# ----------------------------------------------------------------------------------------------------------- contexts

GRAD_SCALERS = frozenset({"torch.amp.GradScaler", "torch.cuda.amp.GradScaler", "torch.cpu.amp.GradScaler"})
# The device that each form of autocast is for; "" where an argument says it.
AUTOCASTS = {"torch.amp.autocast": "", "torch.cuda.amp.autocast": "cuda", "torch.cpu.amp.autocast": "cpu"}
AUTOCAST_DEFAULTS = {"cuda": "float16", "cpu": "bfloat16", "mps": "float16", "xpu": "float16"}
HALVES = {"torch.float16": "float16", "torch.half": "float16", "torch.bfloat16": "bfloat16"}
CLIPPING = frozenset(
    """
    torch.nn.utils.clip_grad_norm_ torch.nn.utils.clip_grad_norm torch.nn.utils.clip_grad_value_
    torch.nn.utils.clip_grads_with_norm_
    """.split()
)
NO_GRAD = frozenset({"torch.no_grad", "torch.inference_mode"})
ENABLE_GRAD = frozenset({"torch.enable_grad"})
SET_GRAD = frozenset({"torch.set_grad_enabled"})
# Other frameworks' words for the same.
PROJECT_NO_GRAD_WORDS = ("no_grad", "nograd", "inference", "eval", "frozen", "without_grad")

# -------------------------------------------------------------------------------------------------------------- calls

# Calls into these neither set a mode, nor touch gradients, nor keep what they are given.
_HARMLESS_ROOTS = frozenset(
    """
    builtins os sys time math numpy logging json random re copy datetime pathlib pickle glob shutil collections
    itertools functools argparse warnings string typing PIL cv2 matplotlib pandas sklearn scipy tqdm yaml csv
    tensorboardX tensorboard seaborn torchvision torchaudio torchtext wandb loguru rich prettytable humanize psutil
    gc inspect dataclasses tabulate imageio skimage gym gymnasium
    """.split()
)
# Of torch itself: everything but these few is harmless to modes and gradients.
_TORCH_TOUCHING = (
    "torch.utils.checkpoint",
    "torch.quantization",
    "torch.ao.",
    "torch.optim.swa_utils",
    "torch.distributed.optim",
    "torch.distributed.autograd",
    "torch.distributed.rpc",
    "torch.func",
    "torch.fx",
    "torch.distributed.checkpoint",
    "torch.nn.utils.parametrize",
)
_HARMLESS_NAMES = frozenset(
    """
    print len str repr id type isinstance issubclass hasattr getattr sum list tuple dict set sorted zip enumerate
    map filter range min max abs round any all next iter float int bool vars dir callable open format input hash
    reversed torchsummary.summary torchinfo.summary thop.profile apex.amp.scale_loss torchviz.make_dot
    ptflops.get_model_complexity_info
    """.split()
)


def harmless(path: str) -> bool:
    """True when the function of this dotted name leaves modes, gradients and parameters as they are."""
    root, _, rest = path.partition(".")
    if root == "torch":
        return not path.startswith(_TORCH_TOUCHING)
    if root == "builtins":
        return rest in _HARMLESS_NAMES or rest[:1].isupper()
    return root in _HARMLESS_ROOTS or path in _HARMLESS_NAMES


# Frameworks and libraries whose objects share the names of torch's: a name alone proves nothing in such a file.
LOOKALIKE_ROOTS = frozenset(
    {
        "mxnet",
        "tensorflow",
        "keras",
        "jax",
        "flax",
        "paddle",
        "mindspore",
        "deepspeed",
        "tinygrad",
        "chainer",
        "cupy",
        "autograd",
        "theano",
        "warp",
        "warp_nn",
    }
)

# `prepare`-like methods that give back what they were given, ready for a device.
IDENTITY_METHODS = frameworks.PREPARING_METHODS
IDENTITY_CALLS = frozenset(
    {"apex.amp.initialize", "ipex.optimize", "intel_extension_for_pytorch.optimize", "poptorch.trainingModel"}
)

# Methods that take a step's backward on behalf of the user, the loss first.
BACKWARD_METHODS = frameworks.BACKWARD_METHODS
ZERO_GRAD_WORDS = (
    "zero_grad",
    "zerograd",
    "reset_grad",
    "clear_grad",
    "zero_grads",
    "zero_gradients",
    "reset_gradients",
)
# Decorators that say nothing about modes and gradients.
PLAIN_DECORATORS = frozenset(
    """
    staticmethod classmethod property functools.wraps functools.lru_cache functools.cache functools.partial
    abc.abstractmethod typing.overload torch.jit.export torch.jit.ignore torch.jit.unused torch.jit.script
    torch.compile contextlib.contextmanager hydra.main pytest.fixture click.command click.option click.argument
    click.group typer.command
    """.split()
)

# Names that people give to models, optimizers and schedulers: the weakest evidence, for values of unknown making only.
_MODEL_NAMES = frozenset(
    """
    model net network classifier generator discriminator encoder decoder netg netd net_g net_d actor critic
    policy_net target_net backbone module student teacher unet vae autoencoder regressor
    """.split()
)


def named_like_model(name: str) -> bool:
    last = name.rsplit(".", 1)[-1].strip("_").lower()
    return (
        last in _MODEL_NAMES
        or last.endswith(("_model", "_net", "_network", "_classifier"))
        or last.startswith("model_")
    )


def named_like_scaler(name: str) -> bool:
    return "scaler" in name.rsplit(".", 1)[-1].lower()


def named_like_optimizer(name: str) -> bool:
    last = name.rsplit(".", 1)[-1].strip("_").lower()
    return "optim" in last or last == "opt" or last.startswith("opt_") or last.endswith("_opt")
