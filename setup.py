from pathlib import Path

from setuptools import setup

here = Path(__file__).parent
version = next(
    line.split('"')[1] for line in (here / "keras_gen/__init__.py").read_text().splitlines() if "__version__ =" in line
)

setup(
    name="keras_gen",
    version=version,
    description="Classical latent-variable image generators: trained with Keras, the same image for a seed in every runtime",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        "keras_gen",
        "keras_gen.adversarial",
        "keras_gen.evaluation",
        "keras_gen.helmholtz",
        "keras_gen.objectives",
        "keras_gen.sequential",
        "training",
        "training.experiments",
        "export",
    ],
    package_data={"export": ["manifest.schema.json", "page/*"], "keras_gen.evaluation": ["feature_networks/*.npz"]},
    install_requires=[
        "ai-edge-litert>=2.3,<3",
        "flatbuffers>=24.3",
        "h5py>=3.11",
        "importlib_resources",
        "jsonschema>=4.23,<5",
        "keras>=3.15,<3.16",
        "numpy>=2",
        "onnx>=1.18",
        "onnxruntime>=1.22",
        "pillow>=11",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        "tensorboard>=2.20",
        "tensorflow>=2.21,<2.22",
        "tensorflow-datasets>=4.9.10,<5",
        "tensorflow-probability>=0.25,<0.26",
        "tf_keras>=2.21,<2.22",
        "tf2onnx>=1.17,<2",
    ],
    extras_require={
        "quantize": ["ai-edge-quantizer>=0.10,<0.11"],
        "test": ["pytest>=9", "pytest-split>=0.11", "ruff>=0.17", "tensorflow-serving-api>=2.21,<2.22"],
    },
    entry_points={"console_scripts": ["keras-gen=training.cli:main"]},
)
