"""Learning processes: models, client work and aggregation composed into federated computations."""
