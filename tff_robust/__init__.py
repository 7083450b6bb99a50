"""Byzantine-robust, differentially private federated learning on TensorFlow Federated.

Importing this package is instant: import the module you need, for example
`from tff_robust.factories import byzantine_robust`.
"""
