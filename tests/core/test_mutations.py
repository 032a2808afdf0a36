"""The tests of the core fail where a part of it is replaced by a wrong one."""

import jax
import jax.numpy as jnp
import optax
import pytest
import test_hypergradient as modes
import test_inner as inner
import test_meta as outer

import metainit
from metainit.core import algorithms, hypergradient, inner_loop, outer_loop
from metainit.core import task_batching as batching

CLOSED_FORM = modes.test_closed_form, None, "mixed"
FIRST_ORDER = modes.test_closed_form, None, "first_order"
IN_PARTS = outer.test_a_meta_batch_taken_in_parts_is_the_same_update
EPOCHS = inner.test_an_epoch_sees_every_example_once_and_is_reshuffled
MUTATIONS = []


def replaces(owner, name, test, *arguments):
    """Registers `(right part) -> wrong part`, and the test that it must fail."""

    def register(wrong):
        MUTATIONS.append((owner, name, wrong, test, arguments))
        return wrong

    return register


@replaces(inner_loop, "adapt_prepared", *CLOSED_FORM)
def adapted_parameters_detached(adapt):
    def wrong(*args, **options):
        adapted, *others = adapt(*args, **options)
        return jax.lax.stop_gradient(adapted), *others

    return wrong


@replaces(hypergradient.MODES, "mixed", *CLOSED_FORM)
def first_order_for_mixed(mixed):
    return hypergradient.first_order


@replaces(hypergradient.MODES, "first_order", *FIRST_ORDER)
def reverse_for_first_order(first_order):
    return hypergradient.reverse


@replaces(batching.STRATEGIES, "scan", *CLOSED_FORM)
def gradients_summed(scan):
    def wrong(task_fn, shared, episodes, keys):
        values, grads = scan(task_fn, shared, episodes, keys)
        return values, jax.tree.map(lambda g: g * len(keys), grads)

    return wrong


@replaces(hypergradient, "split", modes.test_integer_leaves_and_keys_in_the_batch, None)
def mixed_knows_adapted_leaves_only(split):
    return lambda tree, mask, field: split(tree, lambda path, leaf: False, field)


@replaces(optax, "with_extra_args_support", inner.test_the_optimizer_is_told_the_step)
def optimizer_told_the_next_step(with_extra_args_support):
    def wrong(optimizer):
        right = with_extra_args_support(optimizer)

        def update(grads, state, params, *, meta, step):
            return right.update(grads, state, params, meta=meta, step=(step + 1) % 3)

        return optax.GradientTransformationExtraArgs(right.init, update)

    return wrong


@replaces(inner_loop, "split", inner.test_mask_is_applied_to_the_started_tree)
@replaces(outer_loop, "split", outer.test_gradients_are_none_outside_the_meta_mask)
def mask_ignored(split):
    return lambda tree, mask, field: split(tree, None, field)


@replaces(inner_loop, "task_keys", inner.test_every_random_choice_has_its_own_key)
def one_key_for_all_choices(task_keys):
    return lambda key: inner_loop.TaskKeys(*5 * [key])


@replaces(outer_loop, "fold_each", outer.test_one_key_is_folded_with_the_task_index)
def one_key_for_all_tasks(fold_each):
    return lambda key, first, count: jnp.stack([key] * count)


@replaces(outer_loop, "fold_each", IN_PARTS, None, metainit.maml)
def every_part_has_the_keys_of_the_first(fold_each):
    return lambda key, first, count: fold_each(key, 0, count)


@replaces(metainit, "minibatches", EPOCHS)
def first_batch_at_every_step(minibatches):
    return lambda *given: lambda *of: lambda step: minibatches(*given)(*of)(0)


@replaces(algorithms, "adapt", outer.test_reptile_closed_form, None, "scan")
def adaptation_lost(adapt):
    def wrong(loop, params, *args, **options):
        return params, adapt(loop, params, *args, **options)[1]

    return wrong


@pytest.mark.parametrize("owner, name, wrong, test, arguments", MUTATIONS)
def test_a_wrong_part_is_noticed(owner, name, wrong, test, arguments, monkeypatch):
    if isinstance(owner, dict):
        monkeypatch.setitem(owner, name, wrong(owner[name]))
    else:
        monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    with jax.enable_x64(True), pytest.raises(AssertionError):
        test(*arguments)
