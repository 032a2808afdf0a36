"""T behind an encoder, as it was searched: step sizes of stages 6 and 7 by tasks.

python launch.py --config benchmarks/claims/tried/t_recipe.py --workdir FOLDER

Trials on scenes are in t_recipe.jsonl, one a start and rate, with their curves.
"""

from ml_collections import ConfigDict

from benchmarks.claims import d1, data


def get_config() -> ConfigDict:
    """d1's encoder as it is; 40 tasks of 20 steps of Adam teach step sizes."""
    config = d1.get_config()
    food, _, scenes = data.of_role("validation")
    config.data.validation, config.data.test = (scenes,), (food,)
    config.update(learned_rates=("pretrained",), cold_start=False, iterations=40)
    config.train_task.update(way=20, shot=15, queries=5)
    config.method.update(step_sizes="tensor", phases=(0, 1, 5, 15))
    config.inner.update(optimizer="adam", batch=32, steps=20, learning_rate=0.001)
    config.outer.update(learning_rate=0.001, decay_steps=40, step_size_rate=0.1)
    config.joint.steps_per_iteration = 0.05
    config.update(validate_every=40, checkpoint_every=20, log_every=5)
    config.evaluate.update(episodes=2, validation_episodes=2, steps=(0, 20))
    config.evaluate.update(sgd_rates=(), adam_rates=(0.001,))
    config.evaluate.update(inverse_penalties=(1.0,), ridge_penalties=(1.0,))
    config.transfer.update(steps=100, held_out=0.4, trial_steps=50)
    config.transfer.update(sgd_rates=(), adam_rates=(0.0003, 0.001))
    config.transfer.heads = ("prototype",)
    return config
