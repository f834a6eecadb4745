"""What can be set for a run: the sections of a configuration, and what their values have to fulfil."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from facelex.errors import unknown_name
from facelex.losses.objective import LOSSES
from facelex.models.dual_encoder import MAX_LOGIT_SCALE, PARTS
from facelex.models.spec import MEANINGFUL


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, docstrings become descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def _check_views(value: object) -> object:
    """One fault in place of one for each type that it might have been."""
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if number or value in ("cached", "batch"):
        return value
    raise ValueError(f"expected cached, batch or a whole number of views, 1 or more, but got {value!r}")


class ModelConfig(Section):
    """Which networks, and the shape of the space they share."""

    image_encoder: str = "vgg11"
    """Registry name of the face network, or ``timm:NAME``."""
    encoder_options: dict[str, bool | int | float | str] = {}
    """Options of that network: ``width``, ``squeeze_excitation``, ``blur_pool`` of the slim and VGG families;
    of a timm network what ``timm.create_model`` takes."""
    text_encoder: Literal[
        "glove", "synonyms", "random", "orthogonal", "shuffled", "shuffled_glove", "one_hot"
    ] = "synonyms"
    """What stands for a class: the first of its words, all of them, or a meaningless control."""
    vocabulary: str = "packaged"
    """``packaged``, or the path of a GloVe text file (any dimension; .zip, .xz and .gz too)."""
    words: dict[str, tuple[str, ...]] | None = None
    """Words or phrases of each class; the packaged lists by default."""
    hidden_dim: int = Field(default=256, ge=1)
    """Hidden width of both projections."""
    embed_dim: int = Field(default=64, ge=1)
    """Width of the shared space."""
    dropout: float = Field(default=0.25, ge=0, lt=1)
    """Dropout before the classifier and in the projections."""
    temperature: float = Field(default=0.07, ge=1 / MAX_LOGIT_SCALE)
    """Initial temperature of the contrastive loss; learned when a phase trains ``logit_scale``."""
    center_words: bool = True
    """Subtract the mean of the class vectors from every word vector."""
    mix_words: bool = False
    """In training, stand for a class with a random mean of its words (needs ``synonyms``)."""
    text_fit: Literal["linear", "affect", "blend"] | None = None
    """After training, fit the text side in closed form to training faces: from word vectors (``linear``),
    with their pleasantness and arousal (``affect``), or that added to the trained side (``blend``). The
    packaged words are moved towards their synonyms for it, as faces will be asked for them."""


class AugmentConfig(Section):
    """Random changes to each training image, drawn per image on the device (Porcu et al. 2020)."""

    rotation: float = Field(default=10.0, ge=0, le=180)
    """Largest rotation either way, degrees."""
    translation: float = Field(default=0.08, ge=0, le=1)
    """Largest shift along each axis, as a fraction of the side."""
    resize: float = Field(default=0.1, ge=0, lt=1)
    """Zoom in or out by up to this fraction."""
    crop: float = Field(default=0.0, ge=0, lt=1)
    """Cut out a window with up to this fraction of the side removed, anywhere inside, and enlarge it."""
    reflection: float = Field(default=0.5, ge=0, le=1)
    """Probability of the mirror image."""
    brightness: float = Field(default=0.0, ge=0, le=1)
    """Largest change of brightness, as a fraction of the full range."""
    contrast: float = Field(default=0.0, ge=0, le=1)
    """Largest relative change of contrast."""
    erasing: float = Field(default=0.0, ge=0, le=1)
    """Probability of overwriting a rectangle with noise (Zhong et al. 2020)."""
    erasing_area: tuple[float, float] = (0.02, 0.2)
    """Smallest and largest erased share of the picture."""
    alternate_reflection: bool = False
    """Mirror each image in every second epoch, in place of a coin toss each time (Jordan 2024)."""
    mixup: float = Field(default=0.0, ge=0)
    """Blend images in pairs; alpha of the Beta distribution of the shares (Zhang et al. 2018). 0: off."""
    cutmix: float = Field(default=0.0, ge=0)
    """Paste in a rectangle of a partner; alpha of its area's Beta distribution (Yun et al. 2019). 0: off."""
    mix_probability: float = Field(default=1.0, ge=0, le=1)
    """Share of batches that are mixed, half of them each way where ``mixup`` and ``cutmix`` are both on."""

    @model_validator(mode="after")
    def _makes_sense(self) -> AugmentConfig:
        if not 0 <= self.erasing_area[0] <= self.erasing_area[1] <= 1:
            raise ValueError("erasing_area needs two rising shares in [0, 1]")
        if self.alternate_reflection and self.reflection != 0.5:
            raise ValueError(
                "alternate_reflection mirrors each image half of the time; set reflection to 0.5 with it, "
                f"not {self.reflection:g}"
            )
        return self

    @property
    def mixes(self) -> bool:
        """Whether any batch is mixed."""
        return self.mix_probability > 0 and (self.mixup > 0 or self.cutmix > 0)

    def in_two_steps(self) -> tuple[AugmentConfig, AugmentConfig]:
        """Part the changes into those of a single picture, and reflection and mixing, which come after."""
        names = ("reflection", "alternate_reflection", "mixup", "cutmix", "mix_probability")
        later = {name: getattr(self, name) for name in names}
        nothing = AugmentConfig(rotation=0, translation=0, resize=0)
        unreflected = {"reflection": 0.0, "alternate_reflection": False, "mixup": 0.0, "cutmix": 0.0}
        return self.model_copy(update=unreflected), nothing.model_copy(update=later)


class OptimizerConfig(Section):
    """The optimiser of every phase."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """``sgd`` has Nesterov momentum."""
    lr: float = Field(default=0.001, gt=0)
    """Highest learning rate."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 regularisation (decoupled for ``adamw``)."""
    decay_norms: bool = False
    """Whether normalisation weights and biases decay as well."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of ``sgd``; the first beta of the Adams."""
    clip_grad_norm: float | None = Field(default=None, gt=0)
    """Scale gradients down to this global norm."""
    sam_rho: float | None = Field(default=None, gt=0)
    """Radius of sharpness-aware minimisation (Foret et al. 2021), two passes a step; null is off."""


class ScheduleConfig(Section):
    """How the learning rate moves."""

    name: Literal["constant", "cosine", "one_cycle", "plateau"] = "cosine"
    """``cosine`` falls from lr to zero; ``one_cycle`` warms up first; ``plateau`` follows val loss."""
    span: Literal["phase", "run"] = "phase"
    """Whether each phase has its own schedule or one schedule spans all phases (not with ``plateau``: each
    phase's val loss is of another kind)."""
    warmup: float = Field(default=0.2, ge=0, lt=1)
    """Share of ``one_cycle`` spent rising from ``start_factor``."""
    start_factor: float = Field(default=0.1, gt=0, le=1)
    """Where ``one_cycle`` starts, relative to lr."""
    final_factor: float = Field(default=0.0, ge=0, le=1)
    """Where ``cosine`` and ``one_cycle`` end, relative to lr."""
    patience: int = Field(default=5, ge=0)
    """Epochs without a better val loss before ``plateau`` lowers the rate."""
    factor: float = Field(default=0.75, gt=0, lt=1)
    """What ``plateau`` multiplies the rate by."""


class LossConfig(Section):
    """Weights of the losses that a phase adds up; a loss of weight zero is not computed."""

    cross_entropy: float = Field(default=0.0, ge=0)
    """Classification on labels (or label shares)."""
    alignment: float = Field(default=0.0, ge=0)
    """Contrast between faces and the words of their labels (the report's Eq. 4.1 and 4.2)."""
    supervised_contrastive: float = Field(default=0.0, ge=0)
    """Contrast between faces of the same and of other labels (Khosla et al. 2020)."""
    distillation: float = Field(default=0.0, ge=0)
    """Cross-entropy against the mean probabilities of ``teachers``."""
    mirror_consistency: float = Field(default=0.0, ge=0)
    """Divergence of the probabilities of an image and its mirror image; doubles the cost of a step."""
    votes: float = Field(default=0.0, ge=0)
    """Cross-entropy of a second head with everything that was voted for (extra annotation; report it as
    such)."""

    @model_validator(mode="after")
    def _some_loss(self) -> LossConfig:
        if not any(self.model_dump().values()):
            raise ValueError("give at least one loss a weight above zero")
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the network that the losses reach."""
        reached = {part for name, weight in self if weight for part in LOSSES[name].parts}
        return tuple(part for part in PARTS if part in reached)


class PhaseConfig(Section):
    """One stage of training: what trains, on which losses, for how long."""

    name: str
    """Shown in logs and curves."""
    epochs: int = Field(ge=1)
    """Passes over the training split."""
    losses: LossConfig
    """What is minimised."""
    train: tuple[str, ...] = PARTS
    """Parts that learn; the rest is frozen, its batch statistics too."""
    lr_factor: float = Field(default=1.0, gt=0)
    """Multiplies the optimiser's lr in this phase."""
    image_sizes: dict[float, int] | None = None
    """Progressive resolution: from each fraction of the phase on, this side in pixels."""

    @model_validator(mode="after")
    def _parts_and_sizes(self) -> PhaseConfig:
        for part in self.train:
            if part not in PARTS:
                raise ValueError(str(unknown_name("part", part, PARTS)))
        if not self.learning:
            raise ValueError(
                f"phase {self.name!r} trains {', '.join(self.train) or 'nothing'}, which none of its losses "
                f"reaches; they reach {', '.join(self.losses.parts)}"
            )
        if self.image_sizes is not None:
            if not all(0 <= start < 1 for start in self.image_sizes) or 0 not in self.image_sizes:
                raise ValueError("image_sizes needs fractions in [0, 1) and one entry for 0")
            if min(self.image_sizes.values()) < 16:
                raise ValueError("image_sizes needs sides of at least 16 pixels")
        return self

    @property
    def learning(self) -> tuple[str, ...]:
        """The parts of ``train`` that the phase's losses reach; the others would stay as they are."""
        return tuple(part for part in PARTS if part in self.train and part in self.losses.parts)

    def image_size(self, epoch: int, default: int) -> int:
        """Side in pixels of the training images in ``epoch`` (counted from 0)."""
        if self.image_sizes is None:
            return default
        fraction = epoch / self.epochs
        return self.image_sizes[max(start for start in self.image_sizes if start <= fraction + 1e-9)]


class RunConfig(Section):
    """Everything that decides a run's result."""

    description: str = ""
    """One line for people."""
    data: str = "data/fer2013.npz"
    """A file written by ``facelex data prepare``, or ``sketch`` for drawn faces."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Decides initial weights, order of examples and augmentation."""
    method: str = "multimodal"
    """Which entry of ``methods`` to run."""
    methods: dict[str, tuple[PhaseConfig, ...]]
    """Named lists of phases; a method whose phases never align has no words."""
    max_epochs_per_phase: int | None = Field(default=None, ge=1)
    """Cut every phase short, to try a configuration."""
    image_size: int = Field(default=48, ge=16)
    """Side in pixels of the images at the end of training and in evaluation."""
    batch_size: int = Field(default=128, ge=1)
    """Examples a step, over all devices."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the label that ``cross_entropy`` spreads evenly over the classes."""
    logit_adjustment: float = Field(default=0.0, ge=0)
    """So many times the logarithm of each class's share of the training images is added to its score in
    ``cross_entropy``, in training alone (Menon et al. 2021): 1 aims at the mean accuracy over classes, 0 at
    accuracy."""
    vote_weight: float = Field(default=0.0, ge=0, le=1)
    """Share of ``cross_entropy``'s target taken from people's votes (extra annotation; report it as such)."""
    image_to_text_weight: float = Field(default=0.75, ge=0, le=1)
    """The report's lambda."""
    contrast_temperature: float = Field(default=0.1, gt=0)
    """Temperature of ``supervised_contrastive``."""
    start_from: str | None = None
    """Whose weights the network begins with, where they fit: a run folder, an ONNX file that facelex
    exported, ``hf:owner/name``, ``shipped``, ``small``, ``tiny`` or ``ferplus``. Null: random weights."""
    teachers: tuple[str, ...] = ()
    """Whose mean probabilities ``distillation`` imitates: run folders, ONNX files, ``hf:owner/name``,
    ``shipped``, ``small``, ``tiny`` and ``ferplus``; with ``batch`` views files that facelex exported."""
    teacher_views: Annotated[Literal["cached", "batch"] | int, BeforeValidator(_check_views)] = "cached"
    """What teachers judge: each plain training image once, with its mirror image (``cached``); in every step
    the very images that the student sees (``batch``; Beyer et al. 2022); or, once each, the training images
    augmented in this many ways, which then serve the epochs in turn."""
    distillation_temperature: float = Field(default=1.0, gt=0)
    """Softens teachers and student (Hinton et al. 2015)."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Average the weights over steps with this decay and use the average for evaluation."""
    train_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the training images to learn from, of each class alike, drawn by ``seed``; a smaller share is
    part of a larger one."""
    drop_blank: bool = True
    """Leave blank training images (pixel deviation below 5) out."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """Arithmetic of the forward and backward pass, in Lightning Fabric's words; ``auto``: ``bf16-mixed``
    where the device multiplies it faster, else ``32-true``."""
    compile: bool = False
    """Compile the network with torch.compile (meant for GPUs; on the CPUs measured it is slower)."""
    cuda_graphs: bool = True
    """On one GPU record each kind of step once and replay it (not with ``compile``, ``optimizer.sam_rho`` or
    precision ``16-mixed``). Changes no result but by rounding; keeps the memory of the largest step."""
    checkpoint_seconds: float = Field(default=0.0, ge=0)
    """Least time between two checkpoints of a phase; 0 writes one after each epoch. What was trained since
    the last one is trained, and logged, again by ``--resume``."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where else to log; metrics.csv is always written."""
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.method not in self.methods:
            raise ValueError(str(unknown_name("method", self.method, self.methods)))
        if not self.phases:
            raise ValueError(f"method {self.method!r} has no phases")
        if not any(
            "classifier" in phase.learning and (phase.losses.cross_entropy or phase.losses.distillation)
            for phase in self.phases
        ):
            raise ValueError(
                f"no phase of method {self.method!r} trains the classifier, which gives the labels; "
                "add a phase with cross_entropy or distillation"
            )
        for key in ("logit_adjustment", "vote_weight"):
            if getattr(self, key) and not any(phase.losses.cross_entropy for phase in self.phases):
                raise ValueError(
                    f"{key} is for cross_entropy, which no phase of method {self.method!r} has; leave it out"
                )
        if self.has_teachers and not self.teachers:
            raise ValueError("distillation has a weight, but no run or model is named in 'teachers'")
        if self.schedule.name == "plateau" and self.schedule.span == "run" and len(self.phases) > 1:
            raise ValueError(
                f"schedule.name=plateau follows the val loss of one phase, and method {self.method!r} has "
                f"{len(self.phases)}; set schedule.span=phase with it"
            )
        if self.augment.mixes and any(phase.losses.supervised_contrastive for phase in self.phases):
            raise ValueError(
                "supervised_contrastive compares images of one label, which mixed images do not have; "
                "set augment.mixup=0 and augment.cutmix=0, or supervised_contrastive=0"
            )
        for key in ("sam_rho", "clip_grad_norm"):
            if getattr(self.optimizer, key) and self.precision == "16-mixed":
                raise ValueError(
                    f"optimizer.{key} does not go with the gradient scaling of precision=16-mixed; "
                    "set precision to auto, bf16-mixed or 32-true"
                )
        if self.model.mix_words and self.model.text_encoder != "synonyms":
            raise ValueError("model.mix_words needs model.text_encoder=synonyms")
        if self.model.text_fit and self.model.text_encoder not in MEANINGFUL:
            raise ValueError("model.text_fit needs words that mean something: text_encoder synonyms or glove")
        return self

    @property
    def phases(self) -> tuple[PhaseConfig, ...]:
        """The phases of the chosen method, cut to ``max_epochs_per_phase``."""
        limit = self.max_epochs_per_phase
        phases = self.methods[self.method]
        if limit is None:
            return phases
        return tuple(phase.model_copy(update={"epochs": min(phase.epochs, limit)}) for phase in phases)

    @property
    def learns_the_same_throughout(self) -> bool:
        """Whether all phases train the same parts on the same losses."""
        reached = {
            (phase.learning, tuple(name for name, weight in phase.losses if weight)) for phase in self.phases
        }
        return len(reached) == 1

    @property
    def has_words(self) -> bool:
        """Whether any phase aligns faces with words."""
        return any(phase.losses.alignment for phase in self.phases)

    @property
    def has_projection(self) -> bool:
        """Whether any phase compares faces in a space of their own, with words or among themselves."""
        return self.has_words or any(phase.losses.supervised_contrastive for phase in self.phases)

    @property
    def has_teachers(self) -> bool:
        """Whether any phase imitates teachers."""
        return any(phase.losses.distillation for phase in self.phases)

    @property
    def predicts_votes(self) -> bool:
        """Whether any phase trains a second head on annotators' votes."""
        return any(phase.losses.votes for phase in self.phases)
