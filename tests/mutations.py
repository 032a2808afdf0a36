"""Breaks the code on purpose and checks that the test named for it notices.

    python tests/mutations.py [WORD ...]     only mutations whose name has every word

Each mutation is a change in one to three places in a copy of the package; the test
must then fail. Prints "killed" or "SURVIVED" for each, with the first line of the
failure, and exits with 1 if any survived. Takes about five minutes on two cores; pytest
does not collect it.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]


class Edit(NamedTuple):
    """Replaces the only occurrence of `old` in metainit/`file` by `new`."""

    file: str
    old: str
    new: str


def changed(file: str, old: str, new: str) -> str:
    """The file with the edit made; stops the program where there is no one place."""
    text = (ROOT / "metainit" / file).read_text()
    if text.count(old) != 1:
        raise SystemExit(f"{file} has {text.count(old)} times {old!r}, not once")
    return text.replace(old, new)


class Mutation(NamedTuple):
    name: str
    test: str  # below tests/
    edits: tuple[Edit, ...]


def mutation(name: str, test: str, *edit: str) -> Mutation:
    return Mutation(name, test, (Edit(*edit),))


STRATEGIES = "test_hypergradient.py::test_modes_and_strategies_agree"
CLOSED_FORM = "test_hypergradient.py::test_closed_form"
BY_HAND = "test_hypergradient.py::test_equals_a_loop_written_by_hand"
DEVICES = "test_parallel.py::test_four_devices_equal_one"

MUTATIONS = (
    # Episodes of an evaluation, and comparisons of runs
    mutation(
        "manifest: episodes of other images are taken",
        "test_manifest.py::test_episodes_of_other_images_are_refused",
        "manifest.py",
        "or _digest(source, manifest) != manifest.sha256",
        "or False",
    ),
    mutation(
        "manifest: filled-up images weigh something",
        "test_manifest.py::test_others_are_filled_up_to_the_largest",
        "manifest.py",
        'found["weight"] = (rows >= 0).astype(np.float32)',
        'found["weight"] = (rows >= -1).astype(np.float32)',
    ),
    mutation(
        "compare: the best is marked where it is level",
        "test_report_seeds.py::test_the_page_marks_the_best_where_it_is_significant",
        "compare.py",
        "if not found.different or found.difference.mean <= 0:",
        "if found.difference.mean <= 0:",
    ),
    mutation(
        "overlap: brightness hides a copy",
        "test_overlap.py::test_copies_are_found_and_others_are_not",
        "overlap.py",
        "thumbnails[number] = thumbnail - thumbnail.mean()",
        "thumbnails[number] = thumbnail",
    ),
    # Searches
    mutation(
        "train: a search keeps meta-test",
        "test_tune.py::test_meta_test_is_never_touched",
        "train.py",
        "roles = roles._replace(test=(), held_out=())",
        "pass",
    ),
    mutation(
        "tune: a trial keeps meta-test",
        "test_tune.py::test_every_combination_is_tried_and_the_best_written",
        "tune.py",
        "found.evaluate.episodes = 0",
        "pass",
    ),
    mutation(
        "tune: a trial that the hours cut short counts",
        "test_tune.py::test_hours_end_a_search_and_more_go_on",
        "tune.py",
        "if notes and by_search:",
        "if False:",
    ),
    # Inner gradients
    mutation(
        "mixed: Hessian product dropped",
        f"{CLOSED_FORM}[64-mixed-quadratic]",
        "hypergradient.py",
        "return of_adapted, of_rest",
        "return jax.tree.map(jax.numpy.zeros_like, of_adapted), of_rest",
    ),
    mutation(
        "mixed: Hessian product along the parameters",
        "test_hypergradient.py::test_central_differences",
        "hypergradient.py",
        "return jax.jvp(gradients, (adapted,), (direction,))[1]",
        "return jax.jvp(lambda x: gradients(x), (adapted,), (adapted,))[1]",
    ),
    mutation(
        "mixed: cotangents of other leaves and the batch dropped",
        f"{STRATEGIES}[mixed-scan]",
        "hypergradient.py",
        "merge(of_floats, no_gradient[0])",
        "merge(jax.tree.map(lambda x: 0 * x, of_floats), no_gradient[0])",
    ),
    mutation(
        "mixed: key of the forward pass not replayed",
        f"{STRATEGIES}[mixed-scan]",
        "hypergradient.py",
        "return loss_fn(merge(adapted, rest), batch, key)[0]",
        "return loss_fn(\n"
        "                    merge(adapted, rest), batch, jax.random.fold_in(key, 1)\n"
        "                )[0]",
    ),
    mutation(
        "mixed: custom_vjp not noticed",
        "test_hypergradient.py::test_custom_vjp_in_the_loss",
        "hypergradient.py",
        '"custom_lin" in',
        '"no such thing" in',
    ),
    mutation(
        "reverse: inner gradient stopped",
        f"{CLOSED_FORM}[64-reverse-regression]",
        "hypergradient.py",
        "return grads, *jax.lax",
        "return jax.lax.stop_gradient(grads), *jax.lax",
    ),
    mutation(
        "first order: inner gradient not stopped",
        f"{CLOSED_FORM}[64-first_order-quadratic]",
        "hypergradient.py",
        "jax.lax.stop_gradient(plain(adapted, rest, batch, key))",
        "plain(adapted, rest, batch, key)",
    ),
    # Inner loop
    mutation(
        "start: not differentiated",
        f"{BY_HAND}[first_order]",
        "inner.py",
        "vary(loop.start(params, support, keys.start), axes)",
        "jax.lax.stop_gradient(loop.start(params, support, keys.start))",
    ),
    mutation(
        "prepare: query not differentiated",
        f"{BY_HAND}[mixed]",
        "meta.py",
        "query = loop.prepare(inner.model_part(params),",
        "query = loop.prepare(jax.lax.stop_gradient(inner.model_part(params)),",
    ),
    mutation(
        "adapt_mask ignored",
        "test_inner.py::test_masked_leaves_are_bitwise_unchanged",
        "inner.py",
        "split(params, loop.adapt_mask, ",
        "split(params, None, ",
    ),
    mutation(
        "inner gradient over all leaves",
        "test_inner.py::test_anil_step_costs_what_anil_costs",
        "inner.py",
        "split(params, loop.adapt_mask, ",
        "split(params, None, ",
    ),
    mutation(
        "same key at every inner step",
        "test_inner.py::test_every_random_choice_has_its_own_key",
        "inner.py",
        "jax.random.fold_in(keys.steps, step)",
        "keys.steps",
    ),
    mutation(
        "optimizer told step 0 at every step",
        "test_hypergradient.py::test_learned_rates_closed_form[mixed]",
        "inner.py",
        "meta=meta, step=step",
        "meta=meta, step=0 * step",
    ),
    mutation(
        "learned rates detached",
        "test_meta.py::test_learned_rates_move_with_the_outer_optimizer",
        "inner.py",
        "meta=meta, step=step",
        "meta=jax.lax.stop_gradient(meta), step=step",
    ),
    mutation(
        "observed before the step",
        "test_inner.py::test_closed_form_and_trace",
        "inner.py",
        "look(adapted, step + 1)",
        "look(carry[0], step + 1)",
    ),
    mutation(
        "InnerLoop._replace unchecked",
        "test_inner.py::test_wrong_inner_loops_are_refused_at_construction",
        "types.py",
        "return cls(*iterable)",
        "return tuple.__new__(cls, iterable)",
    ),
    mutation(
        "masks may select integers",
        "test_inner.py::test_masks_that_do_not_fit_are_refused",
        "partition.py",
        "if selected and not is_float(leaf):",
        "if False:",
    ),
    mutation(
        "minibatches: the same order each epoch",
        "test_inner.py::test_an_epoch_sees_every_example_once_and_is_reshuffled",
        "inner.py",
        "jax.random.fold_in(key, epoch), examples",
        "key, examples",
    ),
    mutation(
        "minibatches: padding counts",
        "test_inner.py::test_padded_and_weighted_equals_unpadded",
        "inner.py",
        " * real[step % a_epoch]",
        "",
    ),
    mutation(
        "mixed: no gradient for the batch",
        "test_hypergradient.py::test_mixed_reaches_the_float_leaves_of_the_caller",
        "hypergradient.py",
        "return of_adapted, of_rest, of_batch, no_gradient[1]",
        "of_batch = jax.tree.map(lambda x: 0 * x, of_batch)\n"
        "        return of_adapted, of_rest, of_batch, no_gradient[1]",
    ),
    mutation(
        "mixed: no gradient for parameters that do not adapt",
        "test_hypergradient.py::test_integer_leaves_and_keys_in_the_batch",
        "hypergradient.py",
        "return of_adapted, of_rest, of_batch, no_gradient[1]",
        "of_rest = jax.tree.map(lambda x: 0 * x if x.dtype == float else x, of_rest)\n"
        "        return of_adapted, of_rest, of_batch, no_gradient[1]",
    ),
    mutation(
        "mixed is first order, Adam inside",
        "test_hypergradient.py::test_adam_inside_at_an_inner_gradient_of_zero",
        "hypergradient.py",
        'MODES = {"mixed": mixed,',
        'MODES = {"mixed": first_order,',
    ),
    mutation(
        "a zero head stays zero",
        "test_models.py::test_zero_head_and_adam_give_finite_meta_gradients",
        "inner.py",
        "jnp.arange(loop.num_steps)",
        "jnp.arange(0 * loop.num_steps)",
    ),
    mutation(
        "parts of a meta-batch share keys",
        "test_meta.py::test_a_meta_batch_taken_in_parts_is_the_same_update",
        "meta.py",
        "first + jnp.arange(count)",
        "0 * first + jnp.arange(count)",
    ),
    mutation(
        "pieces of a batch are added up",
        "test_microbatch.py::test_second_order_gradients_are_those_of_the_whole_batch",
        "models/microbatch.py",
        "jnp.tensordot(share, x, 1)",
        "jnp.sum(x, 0)",
    ),
    # What a run goes on with, and when it ends
    mutation(
        "other images are gone on with",
        "test_train.py::test_other_images_than_the_run_began_with_are_refused",
        "same_data.py",
        "if old != source",
        "if False",
    ),
    mutation(
        "meta-test takes no time",
        "test_train.py::test_max_hours_leaves_what_meta_test_takes",
        "runs.py",
        "spent - last) / left",
        "spent - 0 * last) / left",
    ),
    mutation(
        "forecast: held-out classes are not tested on",
        "test_forecast.py::test_it_counts_the_episodes_that_meta_test_adapts_to",
        "forecast.py",
        "len(roles.test + roles.held_out)",
        "len(roles.test)",
    ),
    mutation(
        "forecast: a loop is counted once",
        "test_forecast.py::test_operations_are_those_of_every_step_and_image",
        "flops.py",
        'of_inner *= params["length"]',
        "pass",
    ),
    # Over tasks
    mutation(
        "scan: sum for mean",
        f"{CLOSED_FORM}[64-mixed-quadratic]",
        "tasks.py",
        "lambda x: x / len(keys), total",
        "lambda x: x, total",
    ),
    mutation(
        "vmap: sum for mean",
        f"{STRATEGIES}[mixed-vmap]",
        "tasks.py",
        "    values, grads = jax.vmap(task_fn, (None, 0, 0))(shared, episodes, keys)\n"
        "    return values, jax.tree.map(lambda x: jnp.mean(x, 0), grads)",
        "    values, grads = jax.vmap(task_fn, (None, 0, 0))(shared, episodes, keys)\n"
        "    return values, jax.tree.map(lambda x: jnp.sum(x, 0), grads)",
    ),
    mutation(
        "unroll: first task only",
        f"{STRATEGIES}[mixed-unroll]",
        "tasks.py",
        "lambda x, i=i: x[i], (episodes, keys)",
        "lambda x: x[0], (episodes, keys)",
    ),
    mutation(
        "tasks share a key",
        "test_meta.py::test_metrics_keep_the_task_axis",
        "meta.py",
        "first + jnp.arange(count)",
        "first + 0 * jnp.arange(count)",
    ),
    mutation(
        "own keys of tasks ignored",
        "test_meta.py::test_permuting_tasks_with_their_keys_changes_nothing",
        "meta.py",
        "    return key\n",
        "    return jnp.sort(key) if not typed else key[jnp.zeros(tasks, int)]\n",
    ),
    # Outer loop
    mutation(
        "inner loop not run",
        "test_meta.py::test_fomaml_moves_by_the_query_gradient_at_the_end",
        "inner.py",
        "jnp.arange(loop.num_steps)",
        "jnp.arange(0 * loop.num_steps)",
    ),
    mutation(
        "a step too many",
        "test_meta.py::test_no_steps_is_the_plain_gradient",
        "inner.py",
        "jnp.arange(loop.num_steps)",
        "jnp.arange(loop.num_steps + 1)",
    ),
    mutation(
        "query loss given the raw support",
        "test_meta.py::test_query_loss_receives_prepared_support_and_query",
        "meta.py",
        "loss_after(adapted, support)",
        "loss_after(adapted, episode.support)",
    ),
    mutation(
        "step weights: last only",
        "test_meta.py::test_step_weights_are_a_function_of_the_step",
        "meta.py",
        "jnp.vdot(weights, losses)",
        "losses[-1]",
    ),
    mutation(
        "step weights: averaged",
        "test_meta.py::test_step_weights_one_hot_at_the_last_is_the_default",
        "meta.py",
        "jnp.vdot(weights, losses)",
        "jnp.mean(losses)",
    ),
    mutation(
        "step weights: not told the step",
        "test_meta.py::test_update_hands_the_step_to_the_step_weights",
        "meta.py",
        "gradient_fn(state.params, episodes, keys, state.step)",
        "gradient_fn(state.params, episodes, keys)",
    ),
    mutation(
        "update: key not folded with the step",
        "test_meta.py::test_stopping_and_going_on_is_bitwise_the_same",
        "meta.py",
        "jax.random.fold_in(key, state.step)",
        "jax.random.fold_in(key, 0)",
    ),
    mutation(
        "update: step not counted",
        "test_meta.py::test_stopping_and_going_on_is_bitwise_the_same",
        "meta.py",
        "state.step + 1",
        "state.step",
    ),
    mutation(
        "meta_mask: optimizer state for all leaves",
        "test_meta.py::test_leaves_outside_the_meta_mask_ride_along",
        "meta.py",
        'learned, _ = split(params, meta_mask, "meta_mask")\n        return MetaState',
        'learned, _ = split(params, None, "meta_mask")\n        return MetaState',
    ),
    mutation(
        "meta_mask: gradient of all leaves",
        "test_meta.py::test_gradients_are_none_outside_the_meta_mask",
        "meta.py",
        'learned, fixed = split(params, meta_mask, "meta_mask")',
        'learned, fixed = split(params, None, "meta_mask")',
    ),
    mutation(
        "fomaml: second order",
        "test_meta.py::test_fomaml_moves_by_the_query_gradient_at_the_end",
        "meta.py",
        'maml(loop, outer, gradient="first_order", **same)',
        "maml(loop, outer, **same)",
    ),
    mutation(
        "anil: body adapts too",
        "test_meta.py::test_anil_adapts_the_head_and_meta_learns_everything",
        "meta.py",
        "loop._replace(adapt_mask=head)",
        "loop",
    ),
    mutation(
        "reptile: away from the tasks",
        "test_meta.py::test_reptile_closed_form",
        "meta.py",
        "jnp.subtract, learned, end",
        "jnp.subtract, end, learned",
    ),
    # Devices
    mutation(
        "parallel: parameters not cast",
        DEVICES,
        "parallel.py",
        'shared = jax.lax.pcast(shared, axis, to="varying")',
        "pass",
    ),
    Mutation(
        "parallel: parameters not cast, and not refused",
        DEVICES,
        (
            Edit(
                "parallel.py",
                'shared = jax.lax.pcast(shared, axis, to="varying")',
                "pass",
            ),
            Edit(
                "inner.py",
                "axes = refuse_unvarying(params, support)",
                "axes = frozenset()",
            ),
            Edit(
                "tasks.py",
                "if axes := varying_axes(keys):",
                "if axes := ():",
            ),
        ),
    ),
    mutation(
        "parallel: a fresh head not cast",
        DEVICES,
        "inner.py",
        "vary(loop.start(params, support, keys.start), axes)",
        "loop.start(params, support, keys.start)",
    ),
    mutation(
        "parallel: sum for mean",
        DEVICES,
        "parallel.py",
        "jax.lax.pmean(",
        "jax.lax.psum(",
    ),
    mutation(
        "unvarying parameters not refused",
        "test_parallel.py::test_parameters_that_do_not_vary_are_refused",
        "inner.py",
        "axes = refuse_unvarying(params, support)",
        "axes = frozenset()",
    ),
    # Models
    mutation(
        "prototypes: sign of the bias",
        "test_models.py::test_prototype_head_is_the_nearest_class_mean",
        "models/heads.py",
        '"bias": -jnp.sum(',
        '"bias": jnp.sum(',
    ),
    mutation(
        "prototypes: not differentiated",
        "test_models.py::test_prototype_head_is_differentiated_through",
        "models/heads.py",
        "2 * means.T",
        "2 * jax.lax.stop_gradient(means).T",
    ),
    mutation(
        "prototypes: padding counts",
        "test_models.py::test_padding_does_not_enter_the_moments",
        "models/heads.py",
        "member = member * weight[:, None]",
        "pass",
    ),
    mutation(
        "heads tied to the order of labels",
        "test_models.py::test_permuting_the_labels_permutes_the_predictions",
        "models/heads.py",
        "kernel = jnp.zeros((shape.shape[-1], way), shape.dtype)",
        "kernel = jax.random.normal(key, (shape.shape[-1], way), shape.dtype)",
    ),
    mutation(
        "norm: padding counts",
        "test_models.py::test_padding_does_not_enter_the_moments",
        "models/norm.py",
        "share = weight / jnp.sum(weight)",
        "share = jnp.full_like(weight, 1 / len(weight))",
    ),
    mutation(
        "norm: support moments see the query",
        "test_models.py::test_only_batch_statistics_let_a_query_see_the_others",
        "models/classifier.py",
        'jnp.zeros(len(query["image"]))',
        'jnp.ones(len(query["image"]))',
    ),
    mutation(
        "norm: another epsilon",
        "test_golden.py::test_adapted_parameters_agree_with_torch",
        "models/norm.py",
        "EPSILON = 1e-5",
        "EPSILON = 1e-4",
    ),
    mutation(
        "golden: first-order meta-gradient",
        "test_golden.py::test_meta_gradient_agrees_with_torch",
        "meta.py",
        "inner.gradient_mode(gradient)\n",
        'gradient = "first_order"\n',
    ),
    mutation(
        "conv: 'SAME' padding at stride 2",
        "test_models.py::test_convolution_forms_are_interchangeable",
        "models/conv.py",
        "((half, half), (half, half)),",
        '"SAME",',
    ),
    mutation(
        "conv_product: the transposed kernel not turned",
        "test_models.py::test_convolution_forms_are_interchangeable",
        "models/conv_product.py",
        "turned = kernel[::-1, ::-1].swapaxes(2, 3)",
        "turned = kernel.swapaxes(2, 3)",
    ),
    mutation(
        "conv_product: the derivative of a transposed one takes its inputs as they are",
        "test_models.py::test_convolution_forms_have_the_same_higher_derivatives",
        "models/conv_product.py",
        "x, y = (ct, x) if transposed else (x, ct)",
        "x, y = x, ct",
    ),
    mutation(
        "max_pool: mean",
        "test_models.py::test_max_pool_equals_reduce_window",
        "models/conv.py",
        "jnp.where(a >= b, a, b)",
        "(a + b) / 2",
    ),
    mutation(
        "max_pool: the last of equals",
        "test_models.py::test_max_pool_equals_reduce_window",
        "models/conv.py",
        "jnp.where(a >= b, a, b)",
        "jnp.where(a > b, a, b)",
    ),
    mutation(
        "max_pool: differentiated by equality",
        "test_models.py::test_gradients_do_not_depend_on_how_the_compiler_fuses",
        "models/conv.py",
        "    x = _larger(x[..., 0, :], x[..., 1, :])\n"
        "    return _larger(x[:, :, 0], x[:, :, 1])",
        "    return x.max((2, 4))",
    ),
    mutation(
        "mlp: dropout always off",
        "test_models.py::test_dropout_keys_run_through_the_inner_loop",
        "models/mlp.py",
        "deterministic=not train",
        "deterministic=True",
    ),
    mutation(
        "data: a wrong checksum is believed",
        "test_obtain.py::test_a_wrong_checksum_is_refused_and_nothing_kept",
        "datasets/fetch.py",
        "            if found == checksum:\n",
        "            if found:\n",
    ),
    mutation(
        "data: the first dead address ends it",
        "test_fetch.py::test_the_next_url_is_tried",
        "datasets/fetch.py",
        "    for url in urls:\n",
        "    for url in urls[:1]:\n",
    ),
    mutation(
        "data: any size is downloaded",
        "test_fetch.py::test_a_file_far_too_big_is_refused_and_nothing_kept",
        "datasets/fetch.py",
        'float("inf") if size is None else 2 * size',
        'float("inf")',
    ),
    mutation(
        "data: the user's own archive is not checked",
        "test_obtain.py::test_an_own_archive_of_another_kind_is_refused_and_kept",
        "datasets/prepare.py",
        "    if found == expected:\n",
        "    if found:\n",
    ),
    mutation(
        "data: two processes fetch at once",
        "test_obtain.py::test_a_second_process_waits_for_the_first",
        "datasets/prepare.py",
        "            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
    ),
    mutation(
        "data: another reduction is taken for the one asked for",
        "test_obtain.py::test_a_reduction_is_recorded_and_not_changed_by_another",
        "datasets/prepare.py",
        "    if asked not in (found, whole):\n",
        "    if False:\n",
    ),
    mutation(
        "data: a plan forgets what is downloaded already",
        "test_obtain.py::test_a_plan_counts_what_is_missing",
        "datasets/plan.py",
        "file.bytes - _part(folder / name / file.name)",
        "file.bytes",
    ),
    mutation(
        "data: a plan forgets the spool",
        "test_obtain.py::test_a_plan_says_what_does_not_fit",
        "datasets/plan.py",
        "        temporary=result,\n",
        "        temporary=0,\n",
    ),
    mutation(
        "data: verify decodes nothing",
        "test_datasets_cli.py::test_verify_decodes",
        "datasets/verify.py",
        "sum(by_split.values()) % every == 0",
        "False",
    ),
    mutation(
        "data: links of another size are fine",
        "test_datasets_cli.py::test_check_links_names_what_is_dead",
        "datasets/links.py",
        "    if int(length) != file.bytes:\n",
        "    if False:\n",
    ),
    mutation(
        "data: a stock version of one of ours is read",
        "test_stock_tfds.py::test_of_ours_the_version_of_the_builder_is_taken",
        "datasets/prepared.py",
        "folder.name == str(ours.VERSION)",
        "True",
    ),
    # Transfer: fine-tuning, time to threshold, intervals, accounting, padding
    mutation(
        "transfer: a held-out image normalised by its neighbours",
        "test_transfer.py::test_a_held_out_image_is_judged_alone[support]",
        "held_out.py",
        'support = preprocess.for_evaluation(params, {"image": moments}, key)',
        'support = preprocess.for_evaluation(params, {"image": images}, key)',
    ),
    mutation(
        "transfer: a resumed run starts from the first parameters",
        "test_transfer.py::test_a_stopped_run_goes_on_to_the_same_rows",
        "transfer.py",
        "_, state, extra = found",
        "extra = found[2]\n        state = state._replace(step=found[1].step)",
    ),
    mutation(
        "transfer: the order depends on the initialisation",
        "test_transfer.py::test_two_initialisations_of_a_seed_meet_the_same_batches",
        "transfer.py",
        "order = Order(chosen, spec.seed, spec.batch)",
        "order = Order(chosen, int(digest(params)[:4], 16), spec.batch)",
    ),
    mutation(
        "sealed: opened before all is chosen",
        "test_transfer_comparison.py::test_meta_test_stays_closed_until_all_is_chosen",
        "sealed.py",
        "if missing := [one for one in wanted if one not in chosen]:",
        "if missing := []:",
    ),
    mutation(
        "transfer_run: chosen on what is measured",
        "test_transfer_run.py::test_what_is_chosen_on_is_not_measured_on",
        "transfer_run.py",
        "hold_out(split.train, config.seed, config.choose_on)",
        "hold_out(split.test, config.seed, config.choose_on)",
    ),
    mutation(
        "transfer: a probe changes the body",
        "test_transfer.py::test_a_probe_changes_the_head_only_and_then_all_begins_anew",
        "supervised_step.py",
        "if head_only:",
        "if False:",
    ),
    mutation(
        "transfer: the optimiser goes on after a probe",
        "test_transfer.py::test_a_probe_changes_the_head_only_and_then_all_begins_anew",
        "transfer.py",
        "if step == spec.probe_steps and step:",
        "if False:",
    ),
    mutation(
        "transfer: a head in closed form is given up at its only point",
        "test_report_transfer.py::test_a_head_in_closed_form_stays_as_it_is",
        "transfer_summary.py",
        "if run.in_closed_form and not found.reached:",
        "if False:",
    ),
    mutation(
        "preprocess: no gradient into a meta-learned encoder",
        "test_composed.py::"
        "test_a_meta_learned_encoder_once_a_task_gives_the_same_gradient",
        "preprocess.py",
        'return self.encode(params["body"], images)',
        'return jax.lax.stop_gradient(self.encode(params["body"], images))',
    ),
    mutation(
        "evaluation: adapts what training with ANIL does not",
        "test_evaluate.py::test_inner_steps_are_those_of_training[anil]",
        "adaptation.py",
        "adapt_mask=adapt_mask(config, model)",
        "adapt_mask=classifier.adapt_mask(model)",
    ),
    mutation(
        "evaluation: batches of filling alone",
        "test_evaluate.py::test_batches_of_an_episode_have_all_of_it_and_no_filling",
        "adaptation.py",
        "jnp.where(weight > 0, drawn, 2.0)",
        "drawn",
    ),
    mutation(
        "step sizes: forgotten at evaluation",
        "test_step_sizes.py::test_evaluation_takes_them",
        "adaptation.py",
        'return step_sizes.times(updates, meta["rates"]), state',
        "return updates, state",
    ),
    mutation(
        "batches: every epoch in the same order",
        "test_batches.py::test_every_image_is_seen_as_often",
        "batches.py",
        "_generator(seed, 0, epoch)",
        "_generator(seed, 0, 0)",
    ),
    mutation(
        "metrics: a calibration bin holds its lower edge",
        "test_metrics.py::test_calibration_error_by_hand",
        "metrics.py",
        'np.searchsorted(inner, confidence, side="left")',
        'np.searchsorted(inner, confidence, side="right")',
    ),
    mutation(
        "threshold: runs that never got there are left out",
        "test_threshold.py::test_a_run_that_never_got_there_counts_up_to_the_horizon",
        "threshold.py",
        "right=[time.value for time in times if not time.reached]",
        "right=[]",
    ),
    mutation(
        "intervals: the episodes that all seeds share are forgotten",
        "test_intervals.py::test_simulated_tables_are_covered",
        "intervals.py",
        "if seeds == 1 or same_episodes:",
        "if seeds == 1:",
    ),
    mutation(
        "intervals: one run's own part counted twice",
        "test_intervals.py::test_what_is_one_runs_own_is_counted_once",
        "intervals.py",
        "error -= _rest(table)",
        "error -= 0 * _rest(table)",
    ),
    mutation(
        "intervals: one seed is called different",
        "test_intervals.py::test_one_seed_says_nothing_of_the_next",
        "intervals.py",
        "p = None if seeds == 1 else _p(half, abs(mean))",
        "p = _p(half, abs(mean))",
    ),
    mutation(
        "flops: a loop counted once",
        "test_flops.py::test_an_inner_loop_costs_its_steps",
        "flops.py",
        'of_inner *= params["length"]',
        "of_inner *= 1",
    ),
    mutation(
        "transfer: a step of a probe counted as one of the network",
        "test_transfer.py::test_operations_are_those_of_the_head_and_the_steps",
        "transfer.py",
        'spent["flops"] += operations[head_only]',
        'spent["flops"] += operations[False]',
    ),
    mutation(
        "fit: a stop that got lost is forgotten",
        "test_fit.py::test_stopped_where_no_exception_gets_out_it_stops_after_the_step",
        "fit.py",
        "stop.check()",
        "pass",
    ),
    mutation(
        "accounting: the baseline comes for nothing",
        "test_accounting.py::test_break_even",
        "accounting.py",
        "extra = ours - baseline",
        "extra = ours",
    ),
    mutation(
        "padding: what each class gets at least is shared out as well",
        "test_padding.py::test_the_composition_by_hand",
        "padding.py",
        "(support - len(sizes))",
        "support",
    ),
    mutation(
        "classifier: padded query images count",
        "test_models.py::test_classes_and_images_a_task_does_not_have_change_nothing",
        "models/classifier.py",
        'return cross_entropy(scores, query["label"], query.get("weight"))',
        'return cross_entropy(scores, query["label"])',
    ),
    mutation(
        "classifier: absent classes keep their scores",
        "test_padding.py::test_filling_up_changes_nothing",
        "models/classifier.py",
        "jnp.where(classes, scores, -jnp.inf)",
        "scores",
    ),
)


def failure(copy: pathlib.Path, tests: list[str]) -> str:
    """First line of the first failure of the copy's tests; empty where all pass."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider"]
        + [f"tests/{test}" for test in tests],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):  # not "all passed" or "some failed"
        raise SystemExit(
            f"{' '.join(tests)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    errors = [line[1:].strip() for line in done.stdout.splitlines() if line[:2] == "E "]
    return (errors or ["failed"])[0] if done.returncode else ""


def apply(copy: pathlib.Path, edits: tuple[Edit, ...]) -> None:
    shutil.rmtree(copy / "metainit", ignore_errors=True)
    shutil.copytree(ROOT / "metainit", copy / "metainit")
    for edit in edits:
        (copy / "metainit" / edit.file).write_text(changed(*edit))


def main(words: list[str]) -> int:
    chosen = [m for m in MUTATIONS if all(word in m.name for word in words)]
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        for folder_name in ("tests", "benchmarks", "configs"):
            shutil.copytree(ROOT / folder_name, copy / folder_name)
        for file in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / file, copy)
        apply(copy, ())
        if reason := failure(copy, sorted({m.test for m in chosen})):
            raise SystemExit(f"the tests do not pass as they are: {reason}")
        for name, test, edits in chosen:
            apply(copy, edits)
            begin = time.monotonic()
            reason = failure(copy, [test])
            survived += not reason
            result = "killed" if reason else "SURVIVED"
            print(f"{result:8} {time.monotonic() - begin:3.0f} s  {name}  [{test}]")
            print(f"             {reason[:100]}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} killed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
