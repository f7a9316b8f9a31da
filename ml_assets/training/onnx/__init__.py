"""A fitted model in ONNX form: exported and verified in training, read where it answers.

Reading imports numpy and ONNX Runtime alone, and so costs a new process a tenth of scikit-learn.
"""
