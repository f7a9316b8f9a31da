"""A fitted model in ONNX form: exported and verified in training, read where it answers.

Reading imports numpy and ONNX Runtime alone, which a prompt can wait for. How a family is fitted
does not belong here.
"""
