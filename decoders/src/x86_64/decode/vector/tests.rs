//! Exceptions that instructions on MMX and vector registers raise by the mode alone, and encodings that do not exist.

use crate::x86_64::decode::decode;
use crate::x86_64::insn::Op;
use crate::x86_64::mode::ModeBits;
use crate::x86_64::trap;
use c2w_engine::guest::{Mode, TrapCause};

/// The exception that an encoding decodes to under a mode, if it does.
fn raised(bytes: &[u8], mode: ModeBits) -> Option<TrapCause> {
    let insn = decode(bytes, Mode(mode.bits())).expect("an encoding is complete").insn;
    (insn.op == Op::Raise).then_some(TrapCause(insn.imm as u32))
}

/// PADDB mm0, mm1.
const MMX: &[u8] = &[0x0f, 0xfc, 0xc1];
/// PADDB xmm0, xmm1.
const SSE: &[u8] = &[0x66, 0x0f, 0xfc, 0xc1];
/// MOVQ2DQ xmm0, mm1.
const BOTH: &[u8] = &[0xf3, 0x0f, 0xd6, 0xc1];
const EMMS: &[u8] = &[0x0f, 0x77];

#[test]
fn control_registers_switch_instructions_off() {
    let plain = ModeBits::SSE;
    let emulated = plain.union(ModeBits::EMULATE).union(ModeBits::NO_X87);
    let switched = plain.union(ModeBits::TASK_SWITCHED).union(ModeBits::NO_X87);
    let without_sse = ModeBits::empty();
    let all_off = emulated.union(switched);
    let (undefined, no_fpu) = (Some(trap::UNDEFINED), Some(trap::NO_FPU));
    // The exceptions in each of the modes above, in this order.
    let cases = [
        (MMX, [None, undefined, no_fpu, None, undefined]),
        (EMMS, [None, undefined, no_fpu, None, undefined]),
        (SSE, [None, undefined, no_fpu, undefined, undefined]),
        (BOTH, [None, undefined, no_fpu, undefined, undefined]),
    ];
    for (bytes, expected) in cases {
        let got = [plain, emulated, switched, without_sse, all_off].map(|mode| raised(bytes, mode));
        assert_eq!(got, expected, "{bytes:02x?}");
    }
    // Without SSE there is nothing to switch off.
    assert_eq!(raised(SSE, ModeBits::TASK_SWITCHED), undefined);
}

#[test]
fn what_does_not_exist_is_undefined() {
    let cases: &[(&str, &[u8])] = &[
        ("lock paddb xmm0, xmm1", &[0xf0, 0x66, 0x0f, 0xfc, 0xc1]),
        ("lock movups [rax], xmm1", &[0xf0, 0x0f, 0x11, 0x08]),
        ("vpaddb xmm0, xmm1, xmm2", &[0xc5, 0xf1, 0xfc, 0xc2]),
        ("vpaddb ymm0, ymm1, ymm2", &[0xc5, 0xf5, 0xfc, 0xc2]),
        ("vpaddb zmm0, zmm1, zmm2", &[0x62, 0xf1, 0x75, 0x48, 0xfc, 0xc2]),
        ("extrq xmm0, 1, 2", &[0x66, 0x0f, 0x78, 0xc0, 1, 2]),
        ("movntss [rax], xmm1", &[0xf3, 0x0f, 0x2b, 0x08]),
        ("pfadd mm0, mm1", &[0x0f, 0x0f, 0xc1, 0x9e]),
        ("femms", &[0x0f, 0x0e]),
        ("gf2p8mulb xmm0, xmm1", &[0x66, 0x0f, 0x38, 0xcf, 0xc1]),
        ("movntdq xmm0, xmm1", &[0x66, 0x0f, 0xe7, 0xc1]),
        ("psllw xmm0 with an extension of 3", &[0x66, 0x0f, 0x71, 0xd8, 1]),
    ];
    for (name, bytes) in cases {
        let mode = ModeBits::SSE.union(ModeBits::AVX);
        assert_eq!(raised(bytes, mode), Some(trap::UNDEFINED), "{name}");
    }
}
