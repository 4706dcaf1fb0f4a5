"""A compacted `.tflite` computes the same, and is little more than its weights."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export import saved_model, tflite
from export.compact import compact
from export.methods import methods_of
from export.signature import Signature
from keras_gen import SigmoidBeliefNetwork
from tests.models import MODELS

LARGEST_EXCESS = 64_000  # Bytes beside the weights.
ITEM = {None: 4, "float16": 2, "int8": 1}  # Bytes of a weight.


def written(name, scheme, path):
    """Writes a model's `.tflite` with all its signatures; returns how many weights it has."""
    keras.utils.set_random_seed(0)
    model = MODELS[name](seed=0)
    seed = np.array([[0, 1], [2, 3]], np.int32)
    outputs = {key: np.asarray(value) for key, value in model.generate(seed).items()}
    tflite.write(model, Signature.of_outputs(outputs), path, scheme, methods_of(model, seed))
    return sum(int(np.prod(variable.shape)) for variable in model.generator.variables)


@pytest.fixture(scope="module", params=[("vae", None), ("draw_soft_colour", "int8")])
def as_converted(request, tmp_path_factory):
    """A file as converter and quantiser write it, and as it is shipped, of two and of three graphs: bytes."""
    folder, kept = tmp_path_factory.mktemp("converted"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tflite, "compact", lambda content, *details: kept.append(content) or compact(content, *details))
        written(*request.param, folder / "g.tflite")
    return kept[0], (folder / "g.tflite").read_bytes()


def test_it_draws_the_same_bits(as_converted, tmp_path, seeds):
    drawn = []
    for content in as_converted:
        (tmp_path / "g.tflite").write_bytes(content)
        drawn.append({key: tflite.read(tmp_path / "g.tflite", key).generate(seeds[:1]) for key in tflite.SIGNATURES})
        generator = tflite.read(tmp_path / "g.tflite")
        drawn[-1] |= {"many": generator.generate(seeds), **{name: generator.call(name, seeds) for name in generator.methods}}
    for key, outputs in drawn[0].items():
        for name, value in outputs.items():
            assert value.tobytes() == drawn[1][key][name].tobytes()


def plain(options):
    """Options of an operator, comparable."""
    return options and {name: value.tolist() if hasattr(value, "tolist") else value for name, value in vars(options).items()}


def test_what_no_runtime_reads_is_gone_and_nothing_else(as_converted):
    before, after = (schema.ModelT.InitFromPackedBuf(content, 0) for content in as_converted)
    assert len(as_converted[1]) < 0.4 * len(as_converted[0])
    for old, new in zip(before.subgraphs, after.subgraphs, strict=True):
        assert [operator.opcodeIndex for operator in old.operators] == [operator.opcodeIndex for operator in new.operators]
        pairs = list(zip((*old.inputs, *old.outputs), (*new.inputs, *new.outputs), strict=True))
        assert [old.tensors[one].name for one, _ in pairs] == [new.tensors[other].name for _, other in pairs]
        ends = {other for _, other in pairs}
        for one, other in zip(old.operators, new.operators, strict=True):
            assert plain(one.builtinOptions) == plain(other.builtinOptions)
            pairs += zip((*one.inputs, *one.outputs), (*other.inputs, *other.outputs), strict=True)
        pairs = {pair for pair in pairs if pair != (-1, -1)}  # inputs that are left out
        assert len(pairs) == len(dict(pairs)) == len({number for _, number in pairs}) == len(old.tensors) == len(new.tensors)
        for was, number in pairs:
            one, other = old.tensors[was], new.tensors[number]
            assert number in ends or other.name is None
            assert one.type == other.type and np.array_equal(one.shape, other.shape)
            assert np.array_equal(one.shapeSignature, other.shapeSignature)
            old_data, new_data = before.buffers[one.buffer].data, after.buffers[other.buffer].data
            assert (old_data is None and new_data is None) or np.array_equal(old_data, new_data)
    contents = [buffer.data.tobytes() for buffer in after.buffers[1:]]
    assert after.buffers[0].data is None and all(contents) and len(set(contents)) == len(contents)


def test_data_are_aligned_as_the_schema_asks(as_converted):
    model = schema.Model.GetRootAs(as_converted[1], 0)
    for index in range(1, model.BuffersLength()):
        data = model.Buffers(index)._tab
        assert data.Vector(data.Offset(4)) % 16 == 0


def test_a_saved_model_holds_no_constant_as_large_as_its_weights(tmp_path):
    model = SigmoidBeliefNetwork((16, 16, 1), units=(4,), generative="autoregressive", seed=0)
    outputs = {key: np.asarray(value) for key, value in model.generate(np.array([[0, 1]], np.int32)).items()}
    saved_model.write(model, Signature.of_outputs(outputs), tmp_path)
    (graph,) = tmp_path.rglob("saved_model.pb")
    assert graph.stat().st_size < LARGEST_EXCESS < 4 * 256**2  # of a mask of its layer


@pytest.mark.parametrize("scheme", ITEM)
@pytest.mark.parametrize("name", ["belief_network", "dcgan", "draw_soft_colour"])
def test_a_file_is_its_weights_and_at_most_64_kb(name, scheme, tmp_path):
    weights = written(name, scheme, tmp_path / "g.tflite")
    assert (tmp_path / "g.tflite").stat().st_size < ITEM[scheme] * weights + LARGEST_EXCESS
