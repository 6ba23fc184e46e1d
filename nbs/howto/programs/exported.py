"Export a recognizer, and run it in onnxruntime without PyTorch"

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from mfsr_nb import FaceWorld, export_onnx
from mfsr_nb.recognition.recognizer import Recognizer

path = Path(tempfile.mkdtemp()) / 'model.onnx'
# in practice: export_onnx('run/weights.safetensors', path)
print(export_onnx(Recognizer(n_ids=4, name='tiny', dim=64, size=64), path).about)

session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
pixels = FaceWorld(seed=0, size=64).faces([0, 1, 2], 0).image
(embedding,) = session.run(None, dict(image=pixels))
print((embedding @ embedding.T).shape, np.linalg.norm(embedding, axis=1).round(5))
