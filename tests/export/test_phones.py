"""The card's Kotlin and Swift name what the file itself has."""

import re

import keras
import pytest
from ai_edge_litert.interpreter import Interpreter

import export
from tests.models import MODELS


@pytest.fixture(scope="module", params=["vae", "gan_conditional", "sequential_imputer_lstm"])
def artifact(request, tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("phones") / request.param
    return export.export_generator(MODELS[request.param](seed=0), path, formats="tflite")


def code(artifact, language):
    (block,) = re.findall(rf"```{language}\n(.*?)```", (artifact.path / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert all(block.count(left) == block.count(right) for left, right in ("{}", "()", "[]"))
    return block


def in_file(artifact):
    """By name of the function in the code: signature, inputs and outputs of the `.tflite` with their shapes for one image."""
    interpreter = Interpreter(str(artifact.path / "generator.tflite"))
    found = {}
    for key in interpreter.get_signature_list():
        if key != "serving_default":
            runner = interpreter.get_signature_runner(key)
            sides = (runner.get_input_details(), runner.get_output_details())
            shapes = [
                {name: f"{each['dtype'].__name__} {each['shape'].tolist()}" for name, each in side.items()} for side in sides
            ]
            found["draw" if key == "single" else key] = (key, *shapes)
    return found


TYPES = {
    "kotlin": {"int32": "IntArray", "float32": "FloatArray", "int32 [1]": "Int"},
    "swift": {"int32": "[Int32]", "float32": "[Float32]", "int32 [1]": "Int32"},
}


def parameters(text, language):
    return dict(re.findall(r"(\w+): ([^,]+)", re.match(r"\w+\((.*?)\) ?(?:throws|:)", text).group(1)))


@pytest.mark.parametrize("language", TYPES)
def test_names_shapes_and_types_are_those_of_the_file(artifact, language):
    block, functions = code(artifact, language), in_file(artifact)
    bodies = {text.split("(")[0]: text for text in re.split(r"\n    (?:fun|func) ", block)[1:]}
    assert set(bodies) == set(functions) and '"generator' in block
    for name, (key, inputs, outputs) in functions.items():
        body, types = bodies[name], TYPES[language]
        assert parameters(body, language) == {each: types.get(shape, types[shape.split()[0]]) for each, shape in inputs.items()}
        for each, shape in inputs.items():
            assert re.search(rf'"{each}".*\(.*{each}.*\),?  // {re.escape(shape)}\n', body)
        first = "sample" if "sample" in outputs else next(iter(outputs))
        documented = block[: block.index(f" {name}(")].rsplit("\n", 2)[-2]
        assert f" values in [0, 1]: {outputs[first]}, row by row" in documented
        if language == "kotlin":
            assert body.count(f'"{key}"') == 3 and f'outputs.getValue("{first}").readFloat()' in body
            created = re.search(r"val outputs = listOf\((.*?)\)", body).group(1)
            assert set(re.findall(r'"(\w+)"', created)) == set(outputs)  # CompiledModel refuses a call without one of them
        else:
            assert f'{name}Runner = try interpreter.signatureRunner(with: "{key}")' in block
            assert f'{name}Runner.output(named: "{first}")' in body


def test_only_where_there_is_a_file_for_phones(model, tmp_path):
    export.export_generator(model, tmp_path / "bare", formats="onnx")
    assert "swift" not in (tmp_path / "bare/README.md").read_text().lower()
