import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_numbers import randomised

from sdd_jax.models.embedding_heads import FlatEmbedding, PooledEmbedding


@pytest.fixture
def flat():
    head = FlatEmbedding(4, size=3, num_dimensions=5, rngs=nnx.Rngs(0))
    return nnx.view(head, use_running_average=True)


@pytest.fixture
def feature_maps():
    return jax.random.normal(jax.random.key(0), (2, 3, 3, 4))


@pytest.mark.slow
def test_flat_embeddings_have_length_one(flat, feature_maps):
    lengths = np.linalg.norm(flat.embeddings(feature_maps), axis=1)
    np.testing.assert_allclose(lengths, [1, 1], rtol=1e-6)


def test_norms_are_the_lengths_before_normalisation(flat, feature_maps):
    flat.linear.kernel[...] = jnp.zeros((36, 5))
    flat.linear.bias[...] = jnp.array([3.0, 0, 0, 4, 0])

    embeddings, norms = flat.embeddings_and_norms(feature_maps)

    # The last normalisation divides by the square root of 1 + 1e-5.
    np.testing.assert_allclose(norms, [5 / np.sqrt(1 + 1e-5)] * 2, rtol=1e-6)
    np.testing.assert_allclose(embeddings, [[0.6, 0, 0, 0.8, 0]] * 2, rtol=1e-6)


def test_rows_of_the_flat_matrix_are_in_height_width_channels_order(flat):
    row, column, channel = 2, 0, 3
    kernel = jnp.zeros((36, 5)).at[(row * 3 + column) * 4 + channel, 1].set(1.0)
    flat.linear.kernel[...] = kernel
    feature_maps = jnp.zeros((1, 3, 3, 4)).at[0, row, column, channel].set(-7.0)

    np.testing.assert_allclose(
        flat.embeddings(feature_maps), [[0, -1, 0, 0, 0]], atol=1e-6
    )


def test_features_are_dropped_only_with_a_key(flat, feature_maps):
    whole = flat.embeddings(feature_maps)
    dropped = flat.embeddings(feature_maps, key=jax.random.key(0))

    np.testing.assert_array_equal(whole, flat.embeddings(feature_maps))
    assert (whole != dropped).any()
    np.testing.assert_array_equal(
        dropped, flat.embeddings(feature_maps, key=jax.random.key(0))
    )


def test_four_tenths_of_the_features_are_dropped():
    head = FlatEmbedding(100, size=10, num_dimensions=2, rngs=nnx.Rngs(0))
    kept = head.dropout(jnp.ones((1, 10, 10, 100)), rngs=jax.random.key(0)) > 0
    # Four standard deviations of the share of 10,000 draws.
    assert abs(kept.mean() - 0.6) < 4 * np.sqrt(0.6 * 0.4 / 10_000)


def test_flat_embedding_holds_no_random_state(flat):
    assert not jax.tree.leaves(nnx.state(flat, nnx.RngState))


def test_pooled_embedding_is_the_mean_over_cells_times_the_matrix(feature_maps):
    head = PooledEmbedding(4, num_dimensions=3, rngs=nnx.Rngs(0))
    expected = np.mean(feature_maps, (1, 2)) @ np.asarray(head.kernel[...])

    np.testing.assert_allclose(head.embeddings(feature_maps), expected, atol=1e-6)


def test_pooled_embeddings_keep_their_length(feature_maps):
    head = PooledEmbedding(4, num_dimensions=3, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(
        head.embeddings(2 * feature_maps), 2 * head.embeddings(feature_maps)
    )


def test_embeddings_of_bfloat16_maps_are_float32(flat, feature_maps):
    half = feature_maps.astype(jnp.bfloat16)
    pooled = PooledEmbedding(4, num_dimensions=3, rngs=nnx.Rngs(0))
    for head in (flat, pooled):
        np.testing.assert_array_equal(
            head.embeddings(half), head.embeddings(half.astype(jnp.float32))
        )
        assert head.embeddings(half).dtype == jnp.float32


@pytest.fixture(params=[False, True], ids=["adaface", "sface"])
def random_flat(request):
    options = dict(size=3, num_dimensions=5, epsilon=2e-5, affine=request.param)
    head = randomised(FlatEmbedding(4, **options, rngs=nnx.Rngs(0)))
    return nnx.view(head, use_running_average=True)


def test_flat_embeddings_are_one_linear_layer(random_flat, feature_maps):
    weights, bias = random_flat.weights_and_bias(3, 3)
    embeddings, norms = random_flat.embeddings_and_norms(feature_maps)
    found = jnp.einsum("bhwc,hwcd->bd", feature_maps, weights) + bias
    np.testing.assert_allclose(found, embeddings * norms[:, None], atol=1e-5)


def test_similarity_maps_and_what_is_left_over_add_up_to_the_cosine(
    random_flat, feature_maps
):
    references = 3 * jax.random.normal(jax.random.key(1), (2, 5))
    maps, left_over = random_flat.similarity_maps(feature_maps, references)
    embeddings = np.asarray(random_flat.embeddings(feature_maps), np.float64)
    cosines = (embeddings * references).sum(1) / np.linalg.norm(references, axis=1)
    assert maps.shape == (2, 3, 3)
    np.testing.assert_allclose(maps.sum((1, 2)) + left_over, cosines, atol=1e-6)
    assert np.abs(left_over).min() > 1e-3  # the map alone does not


def test_a_cell_of_a_similarity_map_is_what_its_features_change(random_flat):
    quiet = jnp.zeros((1, 3, 3, 4))
    loud = quiet.at[0, 2, 1].set(jnp.array([1.0, -2.0, 0.5, 3.0]))
    reference = jnp.ones((1, 5))
    before, after = (
        random_flat.similarity_maps(maps, reference)[0] for maps in (quiet, loud)
    )
    np.testing.assert_array_equal(before, 0)
    assert after[0, 2, 1] != 0
    np.testing.assert_array_equal(after.at[0, 2, 1].set(0), 0)
