"""TensorFlow: a Keras perceptron, and models saved by Keras (.keras, .h5) or as SavedModel."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it when it is imported

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from springtide.sdk import Refusal
from springtide.trainers.answers import measure, read_answer
from springtide.trainers.archives import pack_folder, unpack
from springtide.trainers.formats import FORMATS
from springtide.trainers.frameworks.batches import NETWORK_PARAMS, Shape, batch_size, chunks, shuffled, target_scale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from springtide.sdk import Deadline
    from springtide.trainers.formats import Format
    from springtide.trainers.frameworks.seam import Brief
    from springtide.trainers.validation import Rows

__all__ = ["PARAMS", "KerasLearner", "KerasNetwork", "build", "load"]

PARAMS = NETWORK_PARAMS
_TINY = 1e-7  # the least probability that the loss sees, float32


class Variables(Protocol):
    """What holds the weights: a Keras model, or the function of a SavedModel."""

    variables: Sequence[Any]  # also what layers such as batch normalisation learn without a gradient
    trainable_variables: Sequence[Any]


class KerasNetwork:
    """A Keras model, or the loaded objects of a SavedModel."""

    names = None
    classes = None

    def __init__(
        self, network: Any, form: Format, *, call: Callable[..., tf.Tensor], variables: Variables, width: int | None
    ) -> None:
        self.network, self.form, self.call, self.variables, self.width = network, form, call, variables, width
        self._answer = tf.function(lambda inputs: call(inputs, training=False), reduce_retracing=True)

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Its numbers for (n, width) inputs."""
        return np.concatenate([self._answer(tf.constant(part)).numpy() for part in chunks(inputs)])

    def learner(self, training: Rows, validation: Rows, brief: Brief) -> KerasLearner:
        """Train all of its weights."""
        return KerasLearner(self, training, validation, brief)

    def save(self, path: Path) -> None:
        """Write it in the format it came in."""
        if self.form.name != "savedmodel":
            self.network.save(path)
            return
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(self.network, folder, signatures=self.network.signatures)
            pack_folder(Path(folder), path)

    def export(self, path: Path, width: int) -> None:
        """Write it as an ONNX graph."""
        import tf2onnx
        from keras.src.export.tf2onnx_lib import patch_tf2onnx

        patch_tf2onnx()
        features = tf.TensorSpec((None, width), tf.float32, name="features")
        graph = tf.function(lambda features: self.call(features, training=False)).get_concrete_function(features)
        # All else that the graph reads becomes a constant: scaling layers hold tensors, which would be inputs of their own.
        frozen = convert_variables_to_constants_v2(graph)
        (given,), (answer,) = frozen.inputs, frozen.outputs
        tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            input_names=[given.name],
            output_names=[answer.name],
            tensors_to_rename={given.name: "features", answer.name: "answer"},
            output_path=str(path),
        )


class KerasLearner:
    """Adam over shuffled batches.

    Source: Kingma & Ba 2015, arXiv:1412.6980.
    """

    epochs, patience = 500, 20

    def __init__(self, network: KerasNetwork, training: Rows, validation: Rows, brief: Brief) -> None:
        if not network.variables.trainable_variables:
            raise Refusal(
                "the model has no weights that can be trained",
                where="the model",
                do="save it with its variables (model.save or model.export), or train from scratch",
            )
        keras.utils.set_random_seed(brief.seed)
        self.network, self.validation, self.brief = network, validation, brief
        self.inputs = tf.constant(training.inputs)
        self.target = tf.constant(training.target.astype(np.int64 if brief.classes else np.float32))
        self.scale = 1.0 if brief.classes else target_scale(training)
        self.batch = batch_size(brief, len(training))
        self.random = np.random.default_rng(brief.seed)
        self.optimizer = keras.optimizers.Adam(brief.learning_rate(3e-4 if brief.fine_tune else 1e-3))
        self.optimizer.build(network.variables.trainable_variables)
        self.step = tf.function(self._step, reduce_retracing=True)

    def epoch(self, deadline: Deadline) -> None:
        """One pass over the training part."""
        for rows in shuffled(len(self.inputs), self.batch, self.random):
            self.step(tf.constant(rows))
            if deadline.passed:
                break

    def loss(self) -> float:
        """Return the validation loss."""
        raw = self.network.answer(self.validation.inputs)
        return measure(read_answer(raw, self.brief.classes, self.brief.output), self.validation.target)

    def keep(self) -> None:
        """Take the present weights as the best."""
        self.best = [weight.numpy() for weight in self.network.variables.variables]

    def restore(self) -> None:
        """Go back to the best weights."""
        for weight, best in zip(self.network.variables.variables, self.best, strict=True):
            weight.assign(best)

    def _step(self, rows: tf.Tensor) -> None:
        weights = self.network.variables.trainable_variables
        with tf.GradientTape() as tape:
            raw = self.network.call(tf.gather(self.inputs, rows), training=True)
            loss = self._training_loss(raw, tf.gather(self.target, rows))
        self.optimizer.apply(tape.gradient(loss, weights), weights)

    def _training_loss(self, raw: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        logits = self.brief.output == "logits"
        if not self.brief.classes:
            return tf.reduce_mean(tf.square((tf.reshape(raw, [-1]) - target) / self.scale))
        if raw.shape.rank == 1 or raw.shape[1] == 1:
            target = tf.cast(target, tf.float32)
            return tf.reduce_mean(keras.losses.binary_crossentropy(target, tf.reshape(raw, [-1]), from_logits=logits))
        return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(target, raw, from_logits=logits))


def build(training: Rows, brief: Brief) -> KerasNetwork:
    """A perceptron with rectified layers."""
    shape = Shape.of(training, brief)
    keras.utils.set_random_seed(brief.seed)
    layers: list[keras.Layer] = [keras.Input((brief.width,), name="features")]
    for hidden in shape.hidden:
        layers.append(keras.layers.Dense(hidden, activation="relu"))
        if shape.dropout:
            layers.append(keras.layers.Dropout(shape.dropout))
    layers.append(keras.layers.Dense(shape.outputs, activation="softmax" if brief.classes else None))
    if not brief.classes:
        layers.append(keras.layers.Rescaling(shape.scale, offset=shape.mean))
    network = keras.Sequential(layers)
    return KerasNetwork(network, FORMATS["keras"], call=network, variables=network, width=brief.width)


def load(path: Path, form: Format) -> KerasNetwork:
    """Load a Keras file or a zipped SavedModel.

    Raises
    ------
    Refusal
        It cannot be loaded, or takes something else than one table.
    """
    return _load_saved_model(path, form) if form.name == "savedmodel" else _load_keras(path, form)


def _load_keras(path: Path, form: Format) -> KerasNetwork:
    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras documents no errors; whatever it is, the file is at fault
        raise Refusal(
            f"Keras cannot load it: {error!s:.300}",
            where=path.name,
            do="save the whole model with Keras 3, without Lambda layers or classes of your own, or send a script",
        ) from error
    shapes = [tuple(tensor.shape) for tensor in network.inputs or ()]
    if len(shapes) != 1 or len(shapes[0]) != 2 or len(network.outputs) != 1:
        raise _not_a_table(path, f"{len(shapes)} inputs of shapes {shapes} and {len(network.outputs or ())} outputs")
    return KerasNetwork(network, form, call=network, variables=network, width=shapes[0][1])


def _load_saved_model(path: Path, form: Format) -> KerasNetwork:
    folder = Path(tempfile.mkdtemp(prefix="savedmodel-"))
    unpack(path, folder)
    try:
        network = tf.saved_model.load(str(next(folder.rglob("saved_model.pb")).parent))
        signature = network.signatures["serving_default"]
    except Exception as error:  # as above
        raise Refusal(
            f"TensorFlow cannot load it: {error!s:.300}",
            where=path.name,
            do="save it with model.export(folder) or tf.saved_model.save with the signature serving_default",
        ) from error
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    shapes = [spec.shape.as_list() for spec in inputs.values()]
    if len(shapes) != 1 or len(shapes[0]) != 2 or len(outputs) != 1:
        raise _not_a_table(path, f"{len(shapes)} inputs of shapes {shapes} and {len(outputs)} outputs")
    (name,), (answer,) = inputs, outputs

    def call(features: tf.Tensor, *, training: bool) -> tf.Tensor:  # the mode it was saved in
        return signature(**{name: features})[answer]

    return KerasNetwork(network, form, call=call, variables=signature, width=shapes[0][1])


def _not_a_table(path: Path, found: str) -> Refusal:
    return Refusal(
        f"the model has {found}; it is to have one input of (n, width) and one output",
        where=path.name,
        do="wrap it in a model that takes one table of float32, or send a script",
    )
