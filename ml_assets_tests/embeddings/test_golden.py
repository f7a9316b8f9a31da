from collections import Counter
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import onnx

from ml_assets.embeddings.runtimes import onnx as export
from ml_assets.embeddings.runtimes import speed
from ml_assets_tests import golden


def test_golden_export(exported: tuple[Path, export.Export]) -> None:
    model = onnx.load(exported[1].path, load_external_data=False)
    output = {
        "opset": [[one.domain, one.version] for one in model.opset_import],
        "inputs": [str(one) for one in model.graph.input],
        "outputs": [one.name for one in model.graph.output],
        "operators": dict(Counter(node.op_type for node in model.graph.node)),
        "weights": len(model.graph.initializer),
        "beside": sum(one.data_location == one.EXTERNAL for one in model.graph.initializer),
    }
    golden.check("ml_assets.embeddings.runtimes.onnx.VERSION", export.VERSION, output)


def test_golden_measure_of_speed() -> None:
    output = {
        "numbers": [field.name for field in fields(speed.Speeds)],
        "sample": sha256("".join(speed.SAMPLE).encode()).hexdigest(),
        "rounds": speed._ROUNDS,
    }
    golden.check("ml_assets.embeddings.runtimes.speed._VERSION", speed._VERSION, output)
