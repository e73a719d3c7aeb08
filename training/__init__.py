"""The offline training package: corpus → crops → network → ONNX file that the service serves."""
