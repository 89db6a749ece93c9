"""Models that fastdp does not evaluate, made by DeePMD-kit itself, are refused by the name of the part."""

import pytest

from fastdp.errors import UnsupportedModelError
from fastdp.model.readers.registry import read_model

REFUSED = {
    "own/water_compressed.pb": "compressed model",
    "own/sea_oneside_f32__compressed.pb": "compressed model",
    "own/ser__compressed.pb": "compressed model",
    "own/set__compressed.pb": "compressed model",
    "own/att_strip__compressed.pb": "compressed model",
    "own/att_attn2.pb": "attention",
    "own/att_concat_two.pb": "se_atten",
    "own/att_strip.pb": "se_atten",
    "own/att_strip_smooth.pb": "se_atten",
    "own/att_v2.pb": "se_atten",
    "own/water_dpa1_noattn.pb": "se_atten",
    "own/ebdv2_two.pb": "type embedding",
    "own/tebd_concat.pb": "type embedding",
    "own/hybrid.pb": "hybrid",
    "own/water_hybrid.pb": "hybrid",
    "own/locframe.pb": "loc_frame",
    "own/ser.pb": "se_e2_r",
    "own/ser_ex2.pb": "se_e2_r",
    "own/water_se_e2_r.pb": "se_e2_r",
    "own/set.pb": "se_e3",
    "own/water_se_e3.pb": "se_e3",
    "own/mixprec.pb": "mixed precision",
    "own/ternary_twoside.dp": r"HDF5, \.dp",
    "own/ternary_twoside_pt.pth": "TorchScript archive",
    "own/ternary_twoside_pt.pt": "PyTorch checkpoint",
    "own/water_dpa1_strip_pt.pth": "TorchScript archive",
    "third_party/copper_compressed.pb": "compressed model",
    "third_party/deepdipole.pb": "'dipole'",
    "third_party/deepdipole_new.pb": "'dipole'",
    "third_party/deepdos.pb": "'dos'",
    "third_party/deeppolar.pb": "'polar'",
    "third_party/deeppolar_new.pb": "'polar'",
    "third_party/deeppot-r.pb": "se_e2_r",
    "third_party/deepspin.pb": "spins",
    "third_party/dp4mask.pb": "se_a_mask",
    "third_party/fparam_aparam.pb": "fparam",
    "third_party/pairwise_dprc.pb": "pairwise",
    "third_party/se_atten_no_atten_1.pb": "se_atten",
    "third_party/se_e2_a_tebd.pb": "type embedding",
    "third_party/virtual_type.pb": "se_atten",
    "third_party/deeppot.pbtxt": r"text form \(\.pbtxt\)",
    "third_party/deeppot_sea.yaml": "YAML",
    "third_party/deeppot_sea.pth": "TorchScript archive",
}


@pytest.mark.parametrize(("model", "part"), REFUSED.items())
def test_the_part_is_named_and_the_file_too(shared, model, part):
    path = shared / "models" / model
    with pytest.raises(UnsupportedModelError, match=part) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


def test_every_model_is_either_read_or_refused_by_name(shared):
    for path in sorted((shared / "models").glob("*/*")):
        try:
            description = read_model(path)
        except UnsupportedModelError:
            continue
        assert description.type_names
