"""D1 as it was searched: the body's last stages learned by tasks without inner steps.

python -m benchmarks.claims.search benchmarks/claims/tried/d1.py ROWS.jsonl FLAGS

The last row's joint pretraining and warm start are those of the row before it.
"""

from ml_collections import ConfigDict

from benchmarks.claims.tried import d2v


def get_config() -> ConfigDict:
    """Ridge regression's loss on 20-way 5-shot tasks moves the body."""
    config = d2v.get_config()
    config.learned_rates = ()
    config.cold_start = True
    config.method.phases = (0,)
    config.inner.steps = 0
    config.inner.batch = 0
    config.train_task.update(way=20, shot=5, queries=5)
    config.iterations = 150
    config.outer.update(learning_rate=3e-5, decay_steps=150)
    config.joint.update(learning_rate=3e-5, steps_per_iteration=3.0)
    config.evaluate.update(steps=(0,), sgd_rates=(0.01,), adam_rates=())
    config.evaluate.validation_episodes = 12
    config.validate_every = 50
    config.log_every = 10
    return config
