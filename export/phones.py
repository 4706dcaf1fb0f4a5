"""Code for the model card that draws from `generator.tflite` on Android (CompiledModel) and iOS (Swift Interpreter).

Written from the manifest: names, shapes and types are those of the file. Every call draws one image: `draw` runs the signature
`single`, the others a signature of their own name, whose free batch is 1 unless it is resized.
"""

import math

from export.signature import SINGLE

ANDROID = "com.google.ai.edge.litert:litert:2.3.0"
POD = "TensorFlowLiteSwift"
_KOTLIN = {
    "int32": ("IntArray", "Int", "intArrayOf", "writeInt"),
    "float32": ("FloatArray", "Float", "floatArrayOf", "writeFloat"),
}
_SWIFT = {"int32": "Int32", "float32": "Float32"}


def kotlin(manifest):
    """A Kotlin class with a method for each signature: text."""
    methods = "\n".join(_kotlin_method(*each) for each in _functions(manifest))
    return f"""// build.gradle.kts: implementation("{ANDROID}"), from Android 6 on; generator.tflite goes to src/main/assets.
import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

class Generator(context: Context) : AutoCloseable {{
    private val model =
        CompiledModel.create(context.assets, "generator.tflite", CompiledModel.Options(Accelerator.CPU))

{methods}
    override fun close() = model.close()
}}
"""


def swift(manifest):
    """A Swift class with a method for each signature: text."""
    functions = list(_functions(manifest))
    runners = "\n".join(f"    private let {name}Runner: SignatureRunner" for name, *_ in functions)
    opened = "\n".join(
        f'        {name}Runner = try interpreter.signatureRunner(with: "{signature}")' for name, signature, *_ in functions
    )
    methods = "\n".join(_swift_method(*each) for each in functions)
    return f"""// Podfile: use_frameworks! and pod '{POD}'; generator.tflite goes to the app's resources.
import Foundation
import TensorFlowLite

final class Generator {{
{runners}

    init() throws {{
        guard let path = Bundle.main.path(forResource: "generator", ofType: "tflite") else {{
            throw CocoaError(.fileNoSuchFile)
        }}
        let interpreter = try Interpreter(modelPath: path)
{opened}
    }}

{methods}
    private func data<T>(_ values: [T]) -> Data {{
        values.withUnsafeBufferPointer {{ Data(buffer: $0) }}
    }}

    private func floats(_ tensor: Tensor) -> [Float32] {{
        tensor.data.withUnsafeBytes {{ Array($0.bindMemory(to: Float32.self)) }}
    }}
}}
"""


def _functions(manifest):
    """Name, signature of the file, inputs, outputs, and the output that is returned, of each function."""
    signatures = {"draw": (SINGLE, manifest["signature"])}
    signatures |= {name: (name, record) for name, record in manifest.get("methods", {}).items()}
    for name, (signature, record) in signatures.items():
        returned = next((spec for spec in record["outputs"] if spec["name"] == "sample"), record["outputs"][0])
        yield name, signature, record["inputs"], record["outputs"], returned


def _shape(spec):
    """As it is for one image, and how many values that are."""
    row = spec["shape"][1:]
    return f"{spec['dtype']} [{', '.join(map(str, (1, *row)))}]", math.prod(row)


def _names(specs):
    return ", ".join(f'"{spec["name"]}"' for spec in specs)


def _kotlin_method(name, signature, inputs, outputs, returned):
    parameters, writes = [], []
    for spec in inputs:
        array, scalar, array_of, write = _KOTLIN[spec["dtype"]]
        alone = len(spec["shape"]) == 1
        parameters.append(f"{spec['name']}: {scalar if alone else array}")
        value = f"{array_of}({spec['name']})" if alone else spec["name"]
        shape, _ = _shape(spec)
        writes.append(f'            inputs.getValue("{spec["name"]}").{write}({value})  // {shape}')
    shape, count = _shape(returned)
    lines = "\n".join(writes)
    return f"""    /** {count} values in [0, 1]: {shape}, row by row, channels last. */
    fun {name}({", ".join(parameters)}): FloatArray {{
        val inputs = listOf({_names(inputs)}).associateWith {{ model.createInputBuffer(it, "{signature}") }}
        val outputs = listOf({_names(outputs)}).associateWith {{ model.createOutputBuffer(it, "{signature}") }}
        try {{
{lines}
            model.run(inputs, outputs, "{signature}")
            return outputs.getValue("{returned["name"]}").readFloat()
        }} finally {{
            (inputs.values + outputs.values).forEach {{ it.close() }}
        }}
    }}
"""


def _swift_method(name, signature, inputs, outputs, returned):
    parameters, given = [], []
    for spec in inputs:
        alone, kind = len(spec["shape"]) == 1, _SWIFT[spec["dtype"]]
        parameters.append(f"{spec['name']}: {kind if alone else f'[{kind}]'}")
        value = f"[{spec['name']}]" if alone else spec["name"]
        shape, _ = _shape(spec)
        given.append(f'            "{spec["name"]}": data({value}),  // {shape}')
    shape, count = _shape(returned)
    lines = "\n".join(given)
    return f"""    /// {count} values in [0, 1]: {shape}, row by row, channels last.
    func {name}({", ".join(parameters)}) throws -> [Float32] {{
        try {name}Runner.invoke(with: [
{lines}
        ])
        return floats(try {name}Runner.output(named: "{returned["name"]}"))
    }}
"""
