"""What training frameworks do by themselves, as data: one entry a framework. Names only; no syntax, no flow.

The source of each entry, with its release, stands beside it. `Duty` says what can be taken over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torchlint.facts import Duty, Grad


@dataclass(slots=True, frozen=True)
class Hook:
    """Methods that a framework calls, and what is in force there."""

    names: frozenset[str]
    training: bool | None = None  # the mode of the model; None: as it was left, or either
    grad: Grad = Grad.DEFAULT
    batch: bool = False  # called once for each batch
    resumes: bool = False  # training goes on after it, with the model as it leaves it
    does: Duty = Duty.NONE  # what the framework does around it: absence is right in the hook


@dataclass(slots=True, frozen=True)
class Cycle:
    """The order in which a framework calls methods of a class, as one training loop.

    After `step`, the method that trains on a batch, it does `does` with the loss that is returned, unless the attribute
    `manual` is set, or one of `overrides` is there in place of its own.
    """

    step: str
    batch: tuple[str, ...]
    first: tuple[str, ...] = ()
    epoch_first: tuple[str, ...] = ()
    epoch_last: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    does: Duty = Duty.NONE
    manual: str = ""
    overrides: frozenset[str] = frozenset()
    optimizers: str = ""  # the method that makes the optimizers; where there is none they are the framework's own
    pair: bool = False  # the step may return the loss first in a tuple, with what it was computed from

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.first, *self.epoch_first, *self.batch, *self.epoch_last, *self.last, self.optimizers)


@dataclass(slots=True, frozen=True)
class Engine:
    """A class that runs training, or a part of it, on the user's behalf; `does` is true of all its loops."""

    does: Duty = Duty.NONE
    methods: Mapping[str, Duty] = field(default_factory=dict)  # what a call of each does
    prepares: frozenset[str] = frozenset()  # methods that give back what they are given, ready to be used
    body: str = ""  # the argument that takes a function which is the body of its loop; the first one
    hooks: tuple[Hook, ...] = ()  # of classes that derive from it
    cycle: Cycle | None = None


@dataclass(slots=True, frozen=True)
class Framework:
    """`roots` are the packages it is imported from, the first of them the one that `canonical` names.

    `inner` is a package in it that exports the same. `marks` are words that give it away in a file, also where one of
    its objects is only handed in, and what it may then do to the loops and optimizers of that file.
    """

    roots: tuple[str, ...]
    inner: str = ""
    modules: frozenset[str] = frozenset()  # classes that derive from torch.nn.Module, by their last names
    engines: Mapping[str, Engine] = field(default_factory=dict)
    hooks: tuple[Hook, ...] = ()  # of the classes in `modules`
    cycle: Cycle | None = None
    methods: Mapping[str, Duty] = field(default_factory=dict)  # of the classes in `modules`
    marks: Mapping[str, Duty] = field(default_factory=dict)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPTIMIZATION = Duty.ZERO_GRAD | Duty.BACKWARD | Duty.STEP
_EVALUATION = Duty.MODE | Duty.NO_GRAD
_MOVES = Duty.MOVE_MODEL | Duty.MOVE_BATCH
# What a trainer that owns the whole loop does.
_ALL = (
    _OPTIMIZATION
    | Duty.SCHEDULER_STEP
    | _EVALUATION
    | _MOVES
    | Duty.SET_EPOCH
    | Duty.SCALING
    | Duty.ACCUMULATION
    | Duty.CLIPPING
    | Duty.RANK_ZERO_CHECKPOINT
)

# Lightning 2.6: lightning/pytorch/core/{hooks,module}.py name the hooks; loops/evaluation_loop.py and
# prediction_loop.py run theirs under torch.inference_mode or no_grad (`_no_grad_context`), between `on_*_model_eval`
# and `on_*_model_train`; loops/fit_loop.py no longer calls `train()` (since 2.2): what a hook puts in eval mode stays.
# `set_epoch` is called in loops/fit_loop.py and evaluation_loop.py (`_set_sampler_epoch`).
_LIGHTNING_STEPS = "training_step training_step_end on_train_batch_start on_train_batch_end"
_LIGHTNING_TRAINING = Hook(_words(_LIGHTNING_STEPS), training=True, batch=True, resumes=True, does=_ALL)
_LIGHTNING_INNER = Hook(  # around one step of an optimizer
    _words(
        """
        on_before_zero_grad on_before_backward on_after_backward on_before_optimizer_step optimizer_step
        optimizer_zero_grad backward configure_gradient_clipping lr_scheduler_step
        """
    ),
    training=True,
    batch=True,
    resumes=True,
    does=_ALL,
)
_LIGHTNING_EPOCH = Hook(
    _words("on_fit_start on_train_start on_train_epoch_start on_train_end on_fit_end"), training=True, does=_ALL
)
_LIGHTNING_EPOCH_END = Hook(_words("on_train_epoch_end training_epoch_end"), training=True, resumes=True, does=_ALL)
_LIGHTNING_EVALUATION_STEPS = Hook(
    _words(
        """
        validation_step test_step predict_step validation_step_end test_step_end on_validation_batch_start
        on_validation_batch_end on_test_batch_start on_test_batch_end on_predict_batch_start on_predict_batch_end
        """
    ),
    training=False,
    grad=Grad.OFF,
    batch=True,
    does=_ALL,
)
_LIGHTNING_EVALUATION = Hook(
    _words(
        """
        on_validation_start on_validation_epoch_start on_validation_epoch_end on_validation_end validation_epoch_end
        on_test_start on_test_epoch_start on_test_epoch_end on_test_end test_epoch_end on_predict_start
        on_predict_epoch_start on_predict_epoch_end on_predict_end
        """
    ),
    training=False,
    grad=Grad.OFF,
    does=_ALL,
)
# These set the mode around an evaluation in place of the trainer.
_LIGHTNING_MODES = Hook(
    _words(
        """
        on_validation_model_eval on_validation_model_train on_validation_model_zero_grad on_test_model_eval
        on_test_model_train on_predict_model_eval on_predict_model_train
        """
    ),
    grad=Grad.OFF,
)
_LIGHTNING_HOOKS = (
    _LIGHTNING_TRAINING,
    _LIGHTNING_INNER,
    _LIGHTNING_EPOCH,
    _LIGHTNING_EPOCH_END,
    _LIGHTNING_EVALUATION_STEPS,
    _LIGHTNING_EVALUATION,
    _LIGHTNING_MODES,
)

LIGHTNING = Framework(
    roots=("lightning", "pytorch_lightning", "lightning_fabric"),
    inner="pytorch",
    modules=_words("LightningModule"),
    hooks=_LIGHTNING_HOOKS,
    # loops/optimization/automatic.py (`Closure.closure`: step, zero_grad, backward). With manual optimization (see the
    # page of that name) the user clears, runs manual_backward, steps, clips and accumulates.
    cycle=Cycle(
        step="training_step",
        batch=("on_train_batch_start", "training_step", "on_train_batch_end"),
        first=("on_fit_start", "on_train_start"),
        epoch_first=("on_train_epoch_start",),
        epoch_last=("on_train_epoch_end",),
        last=("on_train_end",),
        does=_OPTIMIZATION,
        manual="automatic_optimization",
        overrides=_words(
            """
            optimizer_step optimizer_zero_grad backward on_before_zero_grad on_before_backward on_after_backward
            on_before_optimizer_step training_step_end
            """
        ),
        optimizers="configure_optimizers",
    ),
    methods={
        "manual_backward": Duty.BACKWARD,
        "clip_gradients": Duty.CLIPPING,
        "optimizers": Duty.STEP,  # these two hand out what `configure_optimizers` returned
        "lr_schedulers": Duty.SCHEDULER_STEP,
        **dict.fromkeys(
            ("log", "log_dict", "print", "toggle_optimizer", "untoggle_optimizer", "save_hyperparameters"), Duty.NONE
        ),
    },
    engines={
        "Trainer": Engine(does=_ALL),
        "Callback": Engine(does=_ALL, hooks=_LIGHTNING_HOOKS),
        "LightningDataModule": Engine(does=Duty.MOVE_BATCH | Duty.SET_EPOCH),
        # lightning/fabric/fabric.py, wrappers.py (2.6): `backward` scales for mixed precision, `setup` moves the model,
        # wrapped loaders move batches and tell their sampler the epoch (`_FabricDataLoader.__iter__`), `save` writes on
        # rank 0. Modes, no_grad, zero_grad, the steps and accumulation are the user's.
        "Fabric": Engine(
            does=_MOVES | Duty.SET_EPOCH | Duty.SCALING | Duty.RANK_ZERO_CHECKPOINT,
            methods={"backward": Duty.BACKWARD, "clip_gradients": Duty.CLIPPING},
            prepares=_words("setup setup_module setup_optimizers setup_dataloaders"),
        ),
    },
    marks=dict.fromkeys(
        ("lightning", "pytorch_lightning", "lightning_fabric", "Fabric"),
        Duty.SET_EPOCH | Duty.SCALING | _MOVES | Duty.RANK_ZERO_CHECKPOINT,
    ),
)

# Accelerate 1.15: accelerate/optimizer.py (steps and clears only where gradients are synchronised, scales),
# scheduler.py, data_loader.py (`set_epoch` at each pass, moves batches), accelerator.py (`prepare`, `accumulate`,
# `backward`; with DeepSpeed `backward` steps and clears as well, utils/deepspeed.py).
_ACCELERATE = _MOVES | Duty.SET_EPOCH | Duty.SCALING | Duty.ACCUMULATION | Duty.RANK_ZERO_CHECKPOINT
ACCELERATE = Framework(
    roots=("accelerate",),
    engines={
        "Accelerator": Engine(
            does=_ACCELERATE,
            methods={
                "backward": Duty.BACKWARD,
                "clip_grad_norm_": Duty.CLIPPING,
                "clip_grad_value_": Duty.CLIPPING,
            },
            prepares=_words("prepare prepare_model prepare_optimizer prepare_data_loader prepare_scheduler"),
        ),
    },
    marks={
        "Accelerator": _ACCELERATE | Duty.STEP,
        "accelerate": Duty.SET_EPOCH,
        "accumulate": Duty.ACCUMULATION,
    },
)

# transformers 4.57: trainer.py (`training_step` calls backward and sets train mode, `prediction_step` no_grad,
# `evaluation_loop` eval mode). Its models are torch modules; PreTrainedModel.from_pretrained returns them in eval mode.
_COMPUTE_LOSS = Cycle(
    step="compute_loss", batch=("compute_loss",), does=_OPTIMIZATION, overrides=_words("training_step"), pair=True
)
TRANSFORMERS = Framework(
    roots=("transformers",),
    modules=_words("PreTrainedModel"),
    engines={
        "Trainer": Engine(
            does=_ALL,
            hooks=(
                Hook(_words("training_step"), training=True, batch=True, does=_ALL & ~Duty.BACKWARD),
                Hook(_words("compute_loss"), batch=True, does=_ALL),
                Hook(_words("prediction_step"), training=False, batch=True, does=_ALL & ~Duty.NO_GRAD),
                Hook(_words("evaluation_loop prediction_loop evaluate predict"), does=_ALL & ~_EVALUATION),
            ),
            cycle=_COMPUTE_LOSS,
        ),
        "Seq2SeqTrainer": Engine(does=_ALL, cycle=_COMPUTE_LOSS),
    },
)
# trl 0.24: its trainers derive from transformers.Trainer.
TRL = Framework(
    roots=("trl",),
    engines=dict.fromkeys(
        ("SFTTrainer", "DPOTrainer", "RewardTrainer", "KTOTrainer", "ORPOTrainer", "CPOTrainer", "GKDTrainer"),
        Engine(does=_ALL, cycle=_COMPUTE_LOSS),
    ),
)

# deepspeed 0.19: runtime/engine.py (`backward` scales, `step` steps, clears, clips and steps the scheduler, at the end
# of an accumulation), runtime/zero (gradients and parameters are shards: a state dict is a copy).
_DEEPSPEED = (
    Duty.ZERO_GRAD
    | Duty.STEP
    | Duty.SCHEDULER_STEP
    | Duty.MOVE_MODEL
    | Duty.SCALING
    | Duty.ACCUMULATION
    | Duty.CLIPPING
    | Duty.STATE_COPIES
)
DEEPSPEED = Framework(
    roots=("deepspeed",),
    engines={
        "DeepSpeedEngine": Engine(
            does=_DEEPSPEED,
            methods={
                "backward": Duty.BACKWARD,
                "step": Duty.STEP | Duty.ZERO_GRAD | Duty.SCHEDULER_STEP | Duty.CLIPPING,
            },
        ),
    },
    marks={"deepspeed": _DEEPSPEED & ~Duty.ZERO_GRAD},  # other optimizers of the file are still the user's to clear
)

# ignite 0.5: ignite/engine/__init__.py (the step functions of `create_supervised_*` do all of it; a function given to
# `Engine` does all of it itself), ignite/distributed/auto.py (`auto_model` moves and wraps).
IGNITE = Framework(
    roots=("ignite",),
    engines={
        "Engine": Engine(body="process_function"),
        "create_supervised_trainer": Engine(
            does=_OPTIMIZATION | Duty.MODE | Duty.MOVE_BATCH | Duty.SCALING | Duty.ACCUMULATION
        ),
        "create_supervised_evaluator": Engine(does=_EVALUATION | Duty.MOVE_BATCH),
    },
    marks={"ignite": Duty.SET_EPOCH},
)

# skorch 1.4: skorch/net.py (`train_step` clears, calls `train_step_single` for forward and backward, and steps;
# `validation_step` and `evaluation_step` set mode and gradients themselves, so that an override has to).
SKORCH = Framework(
    roots=("skorch",),
    engines=dict.fromkeys(
        ("NeuralNet", "NeuralNetClassifier", "NeuralNetRegressor", "NeuralNetBinaryClassifier"),
        Engine(
            does=_ALL,
            hooks=(
                Hook(
                    _words("train_step_single"),
                    grad=Grad.DEFAULT,
                    batch=True,
                    does=_ALL & ~(Duty.BACKWARD | Duty.MODE),
                ),
                Hook(_words("train_step"), batch=True, does=_MOVES | Duty.SCHEDULER_STEP),
                Hook(_words("validation_step evaluation_step"), batch=True, does=_MOVES),
                Hook(_words("infer get_loss"), batch=True, does=_ALL),
            ),
        ),
    ),
    marks={"skorch": Duty.OWN_FORWARD},
)

# fastai 2.8: fastai/learner.py (`_do_grad_opt`: backward, step, zero_grad; `_do_epoch_validate` under no_grad),
# callback/core.py (TrainEvalCallback sets the mode), callback/fp16.py, data/load.py. Its `Module` is not in `modules`:
# it calls `super().__init__()` by itself.
FASTAI = Framework(
    roots=("fastai",),
    engines={
        "Learner": Engine(does=_ALL),
        "Callback": Engine(
            does=_ALL,
            hooks=(
                Hook(_words("before_train after_train before_backward after_backward before_step after_step"), True),
                Hook(_words("before_validate after_validate"), False, Grad.OFF, does=_ALL),
                Hook(
                    _words("before_batch after_pred after_loss after_batch before_epoch after_epoch"),
                    batch=True,
                    does=_ALL,
                ),
            ),
        ),
    },
)

# speechbrain 1.0: speechbrain/core.py (`_fit_train`: train mode, set_epoch; `fit_batch`: forward, backward and, through
# `optimizers_step`, unscaling, clipping, the step and zero_grad; `_fit_valid` and `evaluate`: eval mode and no_grad).
_BRAIN = _MOVES | Duty.MODE | Duty.NO_GRAD | Duty.SET_EPOCH | Duty.RANK_ZERO_CHECKPOINT
SPEECHBRAIN = Framework(
    roots=("speechbrain",),
    engines={
        "Brain": Engine(
            does=_ALL,
            methods={
                "optimizers_step": Duty.STEP | Duty.ZERO_GRAD | Duty.CLIPPING | Duty.SCALING,
                "fit_batch": _OPTIMIZATION,
                **dict.fromkeys(("check_gradients", "check_loss_isfinite", "update_average"), Duty.NONE),
            },
            hooks=(
                Hook(_words("fit_batch"), training=True, batch=True, does=_BRAIN),
                Hook(_words("on_fit_batch_start on_fit_batch_end"), training=True, batch=True, does=_ALL),
                Hook(_words("optimizers_step"), training=True, batch=True, does=_BRAIN),
                Hook(_words("evaluate_batch"), training=False, grad=Grad.OFF, batch=True, does=_ALL),
                Hook(_words("compute_forward compute_objectives"), batch=True, does=_ALL),
                Hook(_words("on_stage_start on_stage_end"), does=_ALL),
            ),
            cycle=Cycle(step="fit_batch", batch=("fit_batch",)),
        ),
    },
)

# mmengine 0.10: mmengine/model/base_model/base_model.py (`train_step`, `val_step`, `test_step`), runner/loops.py (train
# mode; eval mode and no_grad around `val_step` and `test_step`), optim/optimizer/optimizer_wrapper.py
# (`update_params`: scaling, backward, and at the end of an accumulation clipping, step and zero_grad),
# hooks/sampler_seed_hook.py. mmcv 1.7: mmcv/runner/{base_module,epoch_based_runner}.py, hooks/optimizer.py.
_UPDATE = _OPTIMIZATION | Duty.CLIPPING | Duty.ACCUMULATION | Duty.SCALING
MMENGINE = Framework(
    roots=("mmengine",),
    modules=_words("BaseModule BaseModel ImgDataPreprocessor BaseDataPreprocessor"),
    hooks=(
        Hook(_words("train_step"), training=True, batch=True, does=_ALL & ~_OPTIMIZATION),
        Hook(_words("val_step test_step"), training=False, grad=Grad.OFF, batch=True, does=_ALL),
    ),
    cycle=Cycle(step="train_step", batch=("train_step",)),
    engines={
        "Runner": Engine(does=_ALL),
        **dict.fromkeys(
            ("OptimWrapper", "AmpOptimWrapper", "ApexOptimWrapper", "OptimWrapperDict"),
            Engine(
                does=Duty.SCALING | Duty.ACCUMULATION | Duty.CLIPPING,
                methods={"update_params": _UPDATE, "backward": Duty.BACKWARD},
            ),
        ),
    },
)
MMCV = Framework(
    roots=("mmcv",),
    modules=_words("BaseModule"),
    engines={"EpochBasedRunner": Engine(does=_ALL), "IterBasedRunner": Engine(does=_ALL)},
)

# torchtune 0.6: recipes/full_finetune_distributed.py writes the loop out; training/memory.py has the optimizer in the
# backward pass.
TORCHTUNE = Framework(
    roots=("torchtune",),
    modules=_words("TransformerDecoder TransformerSelfAttentionLayer MultiHeadAttention"),
    marks={"register_optim_in_bwd_hooks": Duty.STEP | Duty.ZERO_GRAD, "OptimizerInBackwardWrapper": Duty.STEP},
)

# Composer 0.32: composer/trainer/trainer.py (the whole loop; eval under `model_eval_mode` and no_grad),
# composer/models/base.py.
COMPOSER = Framework(
    roots=("composer",),
    modules=_words("ComposerModel HuggingFaceModel ComposerClassifier"),
    hooks=(
        Hook(_words("loss"), batch=True, does=_ALL),
        Hook(_words("eval_forward update_metric"), training=False, grad=Grad.OFF, batch=True, does=_ALL),
    ),
    engines={"Trainer": Engine(does=_ALL)},
    marks={"composer": Duty.SET_EPOCH},
)

# catalyst 22.4: catalyst/core/runner.py (`_run_loader` sets mode, gradients and epoch), runners/runner.py
# (`handle_batch` of CustomRunner does the optimization itself; SupervisedRunner has callbacks for it).
CATALYST = Framework(
    roots=("catalyst",),
    engines={
        "Runner": Engine(
            does=_EVALUATION | _MOVES | Duty.SET_EPOCH,
            hooks=(Hook(_words("handle_batch"), batch=True, does=_EVALUATION | _MOVES | Duty.SET_EPOCH),),
            cycle=Cycle(step="handle_batch", batch=("handle_batch",)),
        ),
        "SupervisedRunner": Engine(does=_ALL, hooks=(Hook(_words("handle_batch"), batch=True, does=_ALL),)),
    },
    marks={"catalyst": Duty.SET_EPOCH},
)

# torch 2.13 itself: torch/amp/grad_scaler.py, torch/distributed/fsdp (parameters are shards, a state dict is gathered),
# Tensor.register_post_accumulate_grad_hook ("optimizer step in backward" tutorial), Optimizer.register_step_*_hook.
# `jit` and gpytorch call `forward` in ways of their own.
TORCH = Framework(
    roots=("torch",),
    marks={
        **dict.fromkeys(("GradScaler", "ShardedGradScaler"), Duty.SCALING),
        **dict.fromkeys(
            ("FSDP", "FullyShardedDataParallel", "fully_shard", "StateDictType"),
            Duty.STATE_COPIES,
        ),
        "register_post_accumulate_grad_hook": Duty.STEP | Duty.ZERO_GRAD,
        **dict.fromkeys(
            ("register_step_post_hook", "register_step_pre_hook", "register_optimizer_step_post_hook"), Duty.ZERO_GRAD
        ),
        **dict.fromkeys(("jit", "script"), Duty.OWN_FORWARD),
    },
)

FRAMEWORKS = (
    TORCH,
    LIGHTNING,
    ACCELERATE,
    TRANSFORMERS,
    TRL,
    DEEPSPEED,
    IGNITE,
    SKORCH,
    FASTAI,
    SPEECHBRAIN,
    MMENGINE,
    MMCV,
    TORCHTUNE,
    COMPOSER,
    CATALYST,
    # torch_geometric 2.7: nn/conv/message_passing.py, nn/models/basic_gnn.py.
    # timm 1.0: utils/cuda.py (NativeScaler scales, clips and steps).
    Framework(roots=("torch_geometric",), modules=_words("MessagePassing")),
    Framework(
        roots=("timm",),
        engines=dict.fromkeys(
            ("NativeScaler", "ApexScaler"), Engine(methods={"__call__": Duty.BACKWARD | Duty.CLIPPING | Duty.STEP})
        ),
        marks={"NativeScaler": Duty.SCALING | Duty.STEP | Duty.CLIPPING},
    ),
    # torchmetrics 1.9: metric.py (a metric is a module; what it has added up stays until `reset`).
    Framework(roots=("torchmetrics",), modules=_words("Metric MetricCollection")),
    Framework(roots=("diffusers",), modules=_words("ModelMixin")),
    Framework(roots=("fairseq",), modules=_words("FairseqEncoder FairseqDecoder"), marks={"loss_scale": Duty.SCALING}),
    Framework(roots=("apex",), marks={"apex": Duty.SCALING, "scale_loss": Duty.SCALING}),
    *(Framework(roots=(root,), marks={root: Duty.OWN_FORWARD}) for root in ("gpytorch", "botorch", "pyro")),
)

# ------------------------------------------------------------------------------------------------------------ questions

_BY_ROOT = {root: one for one in FRAMEWORKS for root in one.roots if root != "torch"}
_MARKS: dict[str, Duty] = {}
for _one in FRAMEWORKS:
    for _word, _duty in _one.marks.items():
        _MARKS[_word] = _MARKS.get(_word, Duty.NONE) | _duty

# Methods that run a backward pass on behalf of the user, the loss first, and those that give back what they are given.
BACKWARD_METHODS = frozenset(
    name
    for one in FRAMEWORKS
    for methods in (one.methods, *(engine.methods for engine in one.engines.values()))
    for name, does in methods.items()
    if does == Duty.BACKWARD
)
PREPARING_METHODS = frozenset[str]().union(*(e.prepares for one in FRAMEWORKS for e in one.engines.values()))
# Full names of classes that derive from torch.nn.Module.
MODULES = frozenset(f"{one.roots[0]}.{name}" for one in FRAMEWORKS for name in one.modules)


def of(path: str) -> Framework | None:
    """The framework that a dotted name stands in; torch itself is none."""
    return _BY_ROOT.get(path.partition(".")[0])


def canonical(path: str) -> str:
    """One name for what a framework exports under several: `pytorch_lightning.core.Trainer` -> `lightning.Trainer`.

    A path of no framework comes back as it is, one of something that the table does not have with another root only.
    """
    root, _, rest = path.partition(".")
    one = _BY_ROOT.get(root)
    if one is None:
        return path
    last = rest.rpartition(".")[2]
    if last in one.modules or last in one.engines:
        return f"{one.roots[0]}.{last}"
    if one.inner and (rest == one.inner or rest.startswith(one.inner + ".")):
        rest = rest[len(one.inner) + 1 :]
    return f"{one.roots[0]}.{rest}" if rest else one.roots[0]


def engine(path: str) -> Engine | None:
    """What a canonical name is as an engine."""
    one = of(path)
    return one.engines.get(path.rpartition(".")[2]) if one is not None else None


def _class(base: str) -> Framework | Engine | None:
    """What is known of a class by its canonical name."""
    one = of(base)
    last = base.rpartition(".")[2]
    return None if one is None else one.engines.get(last, one if last in one.modules else None)


def cycle(base: str) -> Cycle | None:
    """The loop that runs methods of classes which derive from `base`."""
    found = _class(base)
    return found.cycle if found is not None else None


# What the methods that classes inherit from their framework are called.
INHERITED = frozenset(
    name
    for one in FRAMEWORKS
    for methods in (one.methods, *(engine.methods for engine in one.engines.values() if engine.cycle is not None))
    for name in methods
)


def inherited(bases: Iterable[str], method: str) -> Duty | None:
    """What a method does that a class with these canonical bases inherits; None when that is not known."""
    for base in bases:
        found = _class(base)
        if found is not None and method in found.methods:
            return found.methods[method]
    return None


# Layers and models of torch_geometric.nn that have parameters; none of them is random but by a `dropout` of its own.
_GRAPH_MODELS = _words("GCN GraphSAGE GIN GAT PNA EdgeCNN MLP")
_WITHOUT_PARAMETERS = _words("LGConv SimpleConv MessagePassing APPNP HeteroConv")


def makes_module(path: str) -> bool:
    """True for what certainly makes a torch module with parameters, in training mode and on the CPU."""
    if path in ("timm.create_model", "timm.models.create_model"):
        return True
    last = path.rpartition(".")[2]
    graph = last in _GRAPH_MODELS or (last.endswith("Conv") and last[:1].isupper() and last not in _WITHOUT_PARAMETERS)
    return path.startswith("torch_geometric.nn.") and graph


# Functions that make an optimizer over all parameters of a model -> which argument that is, and its name.
OPTIMIZER_MAKERS = {
    "timm.optim.create_optimizer_v2": (0, "model_or_params"),
    "timm.optim.optim_factory.create_optimizer_v2": (0, "model_or_params"),
    "timm.optim.create_optimizer": (1, "model"),
    "timm.optim.optim_factory.create_optimizer": (1, "model"),
}


def works(path: str) -> Engine | None:
    """What a canonical name is as the class of an object that loops are written around, not of a loop by itself."""
    known = engine(path)
    return known if known is not None and known.methods and not known.hooks else None


def relieved(words: Iterable[str], duty: Duty) -> bool:
    """True when something that is named among `words` may take over a part of `duty` by itself."""
    return any(_MARKS.get(word, Duty.NONE) & duty for word in words)


def hook(bases: Iterable[str], method: str) -> Hook | None:
    """What is in force in a method of a class with these canonical bases, where a framework calls it."""
    for base in bases:
        found = _class(base)
        for each in found.hooks if found is not None else ():
            if method in each.names:
                return each
    return None
