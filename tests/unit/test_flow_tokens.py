"""The tokens of flows: one spelling each; whatever else is shown is none, and never an error."""

import pytest

from router.state.flow_tokens import NoticeToken, TurnToken, read_notice_token, read_token
from tests.for_each import for_each

SECRET = "209bf69f-f86a-4d6e-abd1-e93f051a1c66"
HEX = SECRET.replace("-", "")
JUNK = (
    *(f"hft_1_+{HEX[1:]}", f"hft_1_{HEX[:4]}_{HEX[5:]}", f"hft_1_{HEX}", f"hft_1_{'-'.join(HEX)}"),
    *(f"hft_1_urn:uuid:{SECRET}", f"hft_1_{{{SECRET}}}", f"hft_1_0x{HEX[2:]}"),
    *(f"hft_1_{SECRET.upper()}", f"hft_1_{SECRET} ", f" hft_1_{SECRET}", f"hft_1_{SECRET}\n"),
    *(f"hft_01_{SECRET}", f"hft_0_{SECRET}", f"hft_-1_{SECRET}", f"hft_+1_{SECRET}"),
    *(f"hft_1_000_{SECRET}", f"hft_{'9' * 19}_{SECRET}", f"hft_{'9' * 5000}_{SECRET}"),
    *(f"hft_\u0661_{SECRET}", f"HFT_1_{SECRET}", f"hfx_1_{SECRET}", f"hft__{SECRET}"),
    *("hft_1_", "hft_1", "hft_1_x", "", "_", "__", "hft", "\x00", f"hft_1_{SECRET}\x00"),
    *(f"hft_1_{SECRET[:-1]}g", f"hft_1_{SECRET}{SECRET}", f"hft_1_{SECRET[:-1]}\uff16"),
)


@pytest.mark.parametrize("number", [1, 4711, 10**18 - 1])
def test_a_token_is_read_as_it_was_written(number: int) -> None:
    turn, notice = TurnToken(number, SECRET), NoticeToken(number, SECRET)
    assert read_token(str(turn)) == turn
    assert read_notice_token(str(notice)) == notice
    assert read_token(str(notice)) is None
    assert read_notice_token(str(turn)) is None


@for_each("junk", JUNK)
def test_whatever_else_is_shown_is_no_token(junk: str) -> None:
    assert read_token(junk) is None
    assert read_notice_token(junk) is None
    assert read_notice_token(junk.replace("hft_", "hfn_")) is None
