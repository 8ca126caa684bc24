"""Answers from the champion: ONNX sessions, and a swap that drops no request."""
