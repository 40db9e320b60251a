"""Models for other programs: ONNX, torchvision, safetensors."""

from maskrcnn.export.onnx import Exportable, export_onnx
from maskrcnn.export.safetensors import export_safetensors
from maskrcnn.export.torchvision import export_torchvision

__all__ = ["Exportable", "export_onnx", "export_safetensors", "export_torchvision"]
