"""The Open Inference Protocol, version 2, over HTTP: the addresses below `/v2`.

Specification: https://github.com/kserve/open-inference-protocol; the binary extension is
`binary_tensor_data` of Triton's documentation.
"""
