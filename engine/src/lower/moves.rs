//! Operations on vectors that only move bytes: where each byte of the result comes from.

use crate::emit::VectorOp;

/// Sixteen places of bytes, of the first operand from 0 on and of the second from 16 on.
pub(super) type Bytes = [u8; 16];

/// `size` bytes at a time, where each comes from by its number; `from` counts units of that size.
pub(super) fn units(size: u8, from: impl Fn(u8) -> u8) -> Bytes {
    std::array::from_fn(|at| {
        let at = at as u8;
        from(at / size) * size + at % size
    })
}

/// Which unit of four a control byte selects for a place.
fn selected(imm: u8, place: u8) -> u8 {
    imm >> (2 * place) & 3
}

/// Operations that only move bytes of their operands, as a selection from `a` and `b`.
pub(super) fn moved_bytes(op: VectorOp, imm: u8) -> Option<Bytes> {
    use VectorOp as V;
    let low = |size: u8| units(size, |at| at / 2 + at % 2 * (16 / size));
    let high = |size: u8| units(size, |at| at / 2 + at % 2 * (16 / size) + 8 / size);
    let blend = |size: u8| units(size, |at| at + (imm >> at & 1) * (16 / size));
    Some(match op {
        V::Copy => units(16, |_| 1),
        V::Movss => units(4, |at| if at == 0 { 4 } else { at }),
        V::Movsd => units(8, |at| if at == 0 { 2 } else { at }),
        V::Movhlps => units(8, |at| if at == 0 { 3 } else { at }),
        V::Movddup => units(8, |_| 2),
        V::Movshdup => units(4, |at| 4 + (at | 1)),
        V::Movsldup => units(4, |at| 4 + (at & 2)),
        V::Pshufd => units(4, |at| 4 + selected(imm, at)),
        V::Pshuflw => units(2, |at| 8 + if at < 4 { selected(imm, at) } else { at }),
        V::Pshufhw => units(2, |at| 8 + if at < 4 { at } else { 4 + selected(imm, at - 4) }),
        V::Shufps => units(4, |at| selected(imm, at) + if at < 2 { 0 } else { 4 }),
        V::Shufpd => units(8, |at| (imm >> at & 1) + 2 * at),
        V::Palignr if imm <= 16 => std::array::from_fn(|at| (at as u8 + imm + 16) % 32),
        V::Punpcklbw => low(1),
        V::Punpcklwd => low(2),
        V::Punpckldq => low(4),
        V::Punpcklqdq => low(8),
        V::Punpckhbw => high(1),
        V::Punpckhwd => high(2),
        V::Punpckhdq => high(4),
        V::Punpckhqdq => high(8),
        V::Blendps => blend(4),
        V::Blendpd => blend(8),
        V::Pblendw => blend(2),
        _ => return None,
    })
}

/// Shifts by bytes, as a selection from `a` and zeros.
pub(super) fn shifted_bytes(op: VectorOp, imm: u8) -> Option<Bytes> {
    let imm = imm.min(16);
    match op {
        VectorOp::Pslldq => {
            Some(std::array::from_fn(|at| if (at as u8) < imm { 16 } else { at as u8 - imm }))
        }
        VectorOp::Psrldq => Some(std::array::from_fn(|at| at as u8 + imm)),
        _ => None,
    }
}
