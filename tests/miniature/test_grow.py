"""A grown miniature starts as what it was grown from, or near it."""

import open_clip
import pytest
import torch

from tangent_lib import miniature
from tangent_lib.miniature.grow import BLOCKS, grow
from tangent_lib.modes import MINIATURES


@pytest.fixture(scope="module")
def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def grown(name, source):
    model = open_clip.create_model(name)
    model.load_state_dict(grow(source.state_dict(), model))
    return model.eval()


def test_a_deeper_tower_computes_the_same(clip, images):
    deep = grown("ViT-Mini-L-8", clip.model)
    assert len(deep.visual.transformer.resblocks) == 2 * len(clip.model.visual.transformer.resblocks)
    assert torch.allclose(deep.encode_image(images), clip.model.encode_image(images), atol=1e-5)
    tokens = open_clip.get_tokenizer("ViT-Mini-8")(["a photo of a dog"])
    assert torch.equal(deep.encode_text(tokens), clip.model.encode_text(tokens))


def test_the_new_blocks_can_be_trained(clip, images):
    deep = grown("ViT-Mini-L-8", clip.model).requires_grad_(True)
    deep.encode_image(images).square().sum().backward()
    new = [p for name, p in deep.named_parameters() if name.startswith(f"{BLOCKS}1.") and name.endswith("proj.weight")]
    assert len(new) == 2 and all(p.abs().max() == 0 < p.grad.abs().max() for p in new)


def test_smaller_patches_see_a_constant_image_in_the_same_direction(clip):
    fine, plain = grown("ViT-Mini-4", clip.model), torch.full((1, 3, 32, 32), 0.3)
    assert fine.visual.conv1.weight.shape[-2:] == (4, 4) and len(fine.visual.positional_embedding) == 65
    patches = [model.visual.conv1(plain)[0, :, 0, 0] for model in (clip.model, fine)]
    assert torch.nn.functional.cosine_similarity(*patches, dim=0) > 0.9
    assert torch.equal(fine.visual.positional_embedding[0], clip.model.visual.positional_embedding[0])


def test_a_number_of_blocks_that_is_no_multiple_is_refused(clip):
    last = (f"{BLOCKS}4.", f"{BLOCKS}5.")
    state = {name: value for name, value in clip.model.state_dict().items() if not name.startswith(last)}
    with pytest.raises(ValueError, match="6 blocks cannot be grown from 4"):
        grow(state, clip.model)


@pytest.mark.parametrize("name", [name for name in MINIATURES if name != "ViT-Mini-8"])
def test_what_a_model_was_grown_from_stands_on_its_card(name):
    assert miniature.read_card(name)["recipe"]["grown_from"] == "ViT-Mini-8"
