//! The flags that the manual calls undefined: the one table of what is not compared of RFLAGS, with the place in SDM 2
//! (the section "Flags Affected" of each instruction).

use super::generate::Case;
use c2w_decoders::x86_64::flags::{AF, CF, OF, PF, SF, ZF};
use iced_x86::{Mnemonic, OpKind};

/// When flags are undefined.
#[derive(Clone, Copy)]
enum When {
    /// Always.
    Always,
    /// The masked count of a shift or rotation is larger than 1.
    CountAbove1,
    /// The masked count is not 0.
    CountNot0,
    /// The masked count is the width of the operand or more.
    CountFromWidth,
    /// The masked count is larger than the width.
    CountAboveWidth,
}

/// One row: instructions, flags, and when these are undefined.
struct Row(&'static [Mnemonic], u64, When);

const TABLE: &[Row] = {
    use Mnemonic as M;
    &[
        Row(&[M::And, M::Or, M::Xor, M::Test], AF, When::Always),
        Row(&[M::Imul, M::Mul], SF | ZF | AF | PF, When::Always),
        Row(&[M::Div, M::Idiv], CF | OF | SF | ZF | AF | PF, When::Always),
        Row(&[M::Shl, M::Sal, M::Shr, M::Sar], AF, When::CountNot0),
        Row(&[M::Shl, M::Sal, M::Shr, M::Sar], OF, When::CountAbove1),
        // "undefined for SHL and SHR instructions where the count is greater than or equal to the size (in bits)".
        Row(&[M::Shl, M::Sal, M::Shr], CF, When::CountFromWidth),
        Row(&[M::Rol, M::Ror, M::Rcl, M::Rcr], OF, When::CountAbove1),
        Row(&[M::Shld, M::Shrd], AF, When::CountNot0),
        Row(&[M::Shld, M::Shrd], OF, When::CountAbove1),
        // "If the count is greater than the operand size, the flags are undefined"; so is the result.
        Row(&[M::Shld, M::Shrd], CF | OF | SF | ZF | AF | PF, When::CountAboveWidth),
        Row(&[M::Bt, M::Bts, M::Btr, M::Btc], OF | SF | AF | PF, When::Always),
        Row(&[M::Bsf, M::Bsr], CF | OF | SF | AF | PF, When::Always),
        Row(&[M::Aaa, M::Aas], OF | SF | ZF | PF, When::Always),
        Row(&[M::Aam, M::Aad], OF | AF | CF, When::Always),
        Row(&[M::Daa, M::Das], OF, When::Always),
        Row(&[M::Blsi, M::Blsr, M::Blsmsk], AF | PF, When::Always),
        Row(&[M::Andn], AF | PF, When::Always),
        Row(&[M::Bextr], AF | SF | PF, When::Always),
        Row(&[M::Bzhi], AF | PF, When::Always),
        Row(&[M::Lzcnt, M::Tzcnt], OF | SF | PF | AF, When::Always),
    ]
};

/// The flags that are undefined after an instruction.
pub fn flags(case: &Case) -> u64 {
    let mnemonic = case.insn.mnemonic();
    let rows = TABLE.iter().filter(|row| row.0.contains(&mnemonic) && holds(row.2, case));
    rows.fold(0, |flags, row| flags | row.1)
}

/// Whether the destination of an instruction is undefined: SHLD and SHRD of 16 bits by more (SDM 2B), and BSWAP of 16
/// bits (SDM 2A).
pub fn result(case: &Case) -> bool {
    match case.insn.mnemonic() {
        Mnemonic::Shld | Mnemonic::Shrd => holds(When::CountAboveWidth, case),
        Mnemonic::Bswap => case.insn.op0_register().size() == 2,
        _ => false,
    }
}

fn holds(when: When, case: &Case) -> bool {
    let width = operand_bytes(case) * 8;
    match when {
        When::Always => true,
        When::CountAbove1 => count(case) > 1,
        When::CountNot0 => count(case) != 0,
        When::CountFromWidth => count(case) >= width,
        When::CountAboveWidth => count(case) > width,
    }
}

fn operand_bytes(case: &Case) -> u64 {
    let insn = &case.insn;
    let bytes = match insn.op0_kind() {
        OpKind::Register => insn.op0_register().size(),
        _ => insn.memory_size().size(),
    };
    bytes as u64
}

/// The count of a shift or rotation, masked as the processor does.
fn count(case: &Case) -> u64 {
    let insn = &case.insn;
    let last = insn.op_count() - 1;
    let given = match insn.op_kind(last) {
        OpKind::Register => case.state.gpr[1],
        _ => insn.immediate(last),
    };
    given & if operand_bytes(case) == 8 { 63 } else { 31 }
}
