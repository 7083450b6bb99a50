"""The rules, pre-aggregators and attacks that there are: one table each, free of TensorFlow."""
