//! What every instruction means: for each line of the table, the function that says it.
//!
//! The interpreter goes through this table for every instruction, a recorder once for each that it translates.

mod a;
pub(super) mod f;
mod i;
mod system;
mod words;
mod zb;

use super::decode::Insn;
use super::fp_helpers::FpFormat::{D, H, S};
use super::fp_helpers::FpOp;
use super::helpers::Helper;
use super::insns::Op;
use c2w_engine::addr::Width::{W8, W16, W32, W64};
use c2w_engine::emit::Cond::{Eq, GeS, GeU, LtS, LtU, Ne};
use c2w_engine::emit::{Amo, Binary, Emit, Unary};
use core::marker::PhantomData;
use f::Sign;
use system::Source::{Immediate, Register};
use words::RvEmit;
use zb::Index;

/// What carries out an instruction: its line of the table below.
type Meaning<E> = fn(&mut E, &Insn) -> Result<(), <E as Emit>::Stop>;

/// The meanings of all instructions for one builder, indexed by [`Op`].
struct Meanings<E>(PhantomData<E>);

macro_rules! meanings {
    (|$e:ident, $i:ident| $($($op:ident)|+ => $meaning:expr,)*) => {
        impl<E: Emit> Meanings<E> {
            const TABLE: [Meaning<E>; OPS] = {
                let illegal: Meaning<E> = |e, i| Err(e.illegal(i));
                let mut table = [illegal; OPS];
                let mut known = [false; OPS];
                $($(
                    assert!(!known[Op::$op as usize], "an instruction has two meanings");
                    table[Op::$op as usize] = {
                        #[allow(unused_variables, reason = "not every meaning has operands")]
                        let meaning: Meaning<E> = |$e, $i| $meaning;
                        meaning
                    };
                    known[Op::$op as usize] = true;
                )+)*
                let mut op = 0;
                while op < Op::ALL.len() {
                    assert!(known[op], "an instruction has no meaning");
                    op += 1;
                }
                table
            };
        }
    };
}

/// Number of instructions, [`Op::Illegal`] included.
const OPS: usize = Op::ALL.len() + 1;

/// The meaning of an instruction.
///
/// A call through a table. One match with everything inlined into it was measured, too: as fast on arithmetic, 7 %
/// slower on memory accesses and calls.
#[inline(always)]
pub fn lift<E: Emit>(e: &mut E, i: &Insn) -> Result<(), E::Stop> {
    let table: &[Meaning<E>; OPS] = &Meanings::<E>::TABLE;
    table[i.op as usize](e, i)
}

meanings! { |e, i|
    // RV32I, RV64I and M.
    Lui => i::lui(e, i),
    Auipc => i::auipc(e, i),
    Jal => i::jal(e, i),
    Jalr => i::jalr(e, i),
    Beq => i::branch(e, i, Eq),
    Bne => i::branch(e, i, Ne),
    Blt => i::branch(e, i, LtS),
    Bge => i::branch(e, i, GeS),
    Bltu => i::branch(e, i, LtU),
    Bgeu => i::branch(e, i, GeU),
    Lb => i::load(e, i, W8),
    Lh => i::load(e, i, W16),
    Lw => i::load(e, i, W32),
    Ld => i::load(e, i, W64),
    Lbu => i::load_unsigned(e, i, W8),
    Lhu => i::load_unsigned(e, i, W16),
    Lwu => i::load_unsigned(e, i, W32),
    Sb => i::store(e, i, W8),
    Sh => i::store(e, i, W16),
    Sw => i::store(e, i, W32),
    Sd => i::store(e, i, W64),
    Addi => i::binary_imm(e, i, Binary::Add, W64),
    Xori => i::binary_imm(e, i, Binary::Xor, W64),
    Ori => i::binary_imm(e, i, Binary::Or, W64),
    Andi => i::binary_imm(e, i, Binary::And, W64),
    Slli => i::binary_imm(e, i, Binary::Shl, W64),
    Srli => i::binary_imm(e, i, Binary::ShrU, W64),
    Srai => i::binary_imm(e, i, Binary::ShrS, W64),
    Slti => i::set_if_imm(e, i, LtS),
    Sltiu => i::set_if_imm(e, i, LtU),
    Addiw => i::binary_imm(e, i, Binary::Add, W32),
    Slliw => i::binary_imm(e, i, Binary::Shl, W32),
    Srliw => i::binary_imm(e, i, Binary::ShrU, W32),
    Sraiw => i::binary_imm(e, i, Binary::ShrS, W32),
    Add => i::binary(e, i, Binary::Add, W64),
    Sub => i::binary(e, i, Binary::Sub, W64),
    Sll => i::binary(e, i, Binary::Shl, W64),
    Xor => i::binary(e, i, Binary::Xor, W64),
    Srl => i::binary(e, i, Binary::ShrU, W64),
    Sra => i::binary(e, i, Binary::ShrS, W64),
    Or => i::binary(e, i, Binary::Or, W64),
    And => i::binary(e, i, Binary::And, W64),
    Slt => i::set_if(e, i, LtS),
    Sltu => i::set_if(e, i, LtU),
    Addw => i::binary(e, i, Binary::Add, W32),
    Subw => i::binary(e, i, Binary::Sub, W32),
    Sllw => i::binary(e, i, Binary::Shl, W32),
    Srlw => i::binary(e, i, Binary::ShrU, W32),
    Sraw => i::binary(e, i, Binary::ShrS, W32),
    Mul => i::binary(e, i, Binary::Mul, W64),
    Mulh => i::binary(e, i, Binary::MulHighS, W64),
    Mulhsu => i::binary(e, i, Binary::MulHighSu, W64),
    Mulhu => i::binary(e, i, Binary::MulHighU, W64),
    Div => i::binary(e, i, Binary::DivS, W64),
    Divu => i::binary(e, i, Binary::DivU, W64),
    Rem => i::binary(e, i, Binary::RemS, W64),
    Remu => i::binary(e, i, Binary::RemU, W64),
    Mulw => i::binary(e, i, Binary::Mul, W32),
    Divw => i::binary(e, i, Binary::DivS, W32),
    Divuw => i::binary(e, i, Binary::DivU, W32),
    Remw => i::binary(e, i, Binary::RemS, W32),
    Remuw => i::binary(e, i, Binary::RemU, W32),
    Fence => i::fence(e),
    Ecall => i::ecall(e, i),
    Ebreak => i::ebreak(e),
    // Zifencei: stores invalidate code as they happen, so that ending the block is all there is to do.
    FenceI => Ok(()),
    // Zicsr, privileged instructions, Svinval, Zawrs, Zicbom, Zicboz.
    Csrrw => system::csr_write(e, i, Register),
    Csrrs => system::csr_change(e, i, Helper::CsrSet, Register),
    Csrrc => system::csr_change(e, i, Helper::CsrClear, Register),
    Csrrwi => system::csr_write(e, i, Immediate),
    Csrrsi => system::csr_change(e, i, Helper::CsrSet, Immediate),
    Csrrci => system::csr_change(e, i, Helper::CsrClear, Immediate),
    Sret => system::trap_return(e, i, Helper::Sret),
    Mret => system::trap_return(e, i, Helper::Mret),
    Wfi => system::plain(e, i, Helper::Wfi),
    SfenceWInval | SfenceInvalIr => system::plain(e, i, Helper::SfenceInval),
    WrsNto | WrsSto => system::plain(e, i, Helper::Wrs),
    SfenceVma | SinvalVma => system::fence_translations(e, i),
    CboInval => system::cache_block(e, i, Helper::CboInval),
    CboClean | CboFlush => system::cache_block(e, i, Helper::CboClean),
    CboZero => system::cache_block(e, i, Helper::CboZero),
    // A.
    LrW => a::load_reserved(e, i, W32),
    ScW => a::store_conditional(e, i, W32),
    AmoswapW => a::amo(e, i, Amo::Swap, W32),
    AmoaddW => a::amo(e, i, Amo::Add, W32),
    AmoxorW => a::amo(e, i, Amo::Xor, W32),
    AmoandW => a::amo(e, i, Amo::And, W32),
    AmoorW => a::amo(e, i, Amo::Or, W32),
    AmominW => a::amo(e, i, Amo::MinS, W32),
    AmomaxW => a::amo(e, i, Amo::MaxS, W32),
    AmominuW => a::amo(e, i, Amo::MinU, W32),
    AmomaxuW => a::amo(e, i, Amo::MaxU, W32),
    LrD => a::load_reserved(e, i, W64),
    ScD => a::store_conditional(e, i, W64),
    AmoswapD => a::amo(e, i, Amo::Swap, W64),
    AmoaddD => a::amo(e, i, Amo::Add, W64),
    AmoxorD => a::amo(e, i, Amo::Xor, W64),
    AmoandD => a::amo(e, i, Amo::And, W64),
    AmoorD => a::amo(e, i, Amo::Or, W64),
    AmominD => a::amo(e, i, Amo::MinS, W64),
    AmomaxD => a::amo(e, i, Amo::MaxS, W64),
    AmominuD => a::amo(e, i, Amo::MinU, W64),
    AmomaxuD => a::amo(e, i, Amo::MaxU, W64),
    // Zba.
    AddUw => zb::shift_add_word(e, i, 0),
    Sh1add => zb::shift_add(e, i, 1),
    Sh1addUw => zb::shift_add_word(e, i, 1),
    Sh2add => zb::shift_add(e, i, 2),
    Sh2addUw => zb::shift_add_word(e, i, 2),
    Sh3add => zb::shift_add(e, i, 3),
    Sh3addUw => zb::shift_add_word(e, i, 3),
    SlliUw => zb::shift_word(e, i),
    // Zbb.
    Andn => zb::with_complement(e, i, Binary::And),
    Orn => zb::with_complement(e, i, Binary::Or),
    Xnor => zb::with_complement(e, i, Binary::Xor),
    Max => zb::choose(e, i, GeS),
    Maxu => zb::choose(e, i, GeU),
    Min => zb::choose(e, i, LtS),
    Minu => zb::choose(e, i, LtU),
    Rol => i::binary(e, i, Binary::Rotl, W64),
    Ror => i::binary(e, i, Binary::Rotr, W64),
    Rolw => i::binary(e, i, Binary::Rotl, W32),
    Rorw => i::binary(e, i, Binary::Rotr, W32),
    Rori => i::binary_imm(e, i, Binary::Rotr, W64),
    Roriw => i::binary_imm(e, i, Binary::Rotr, W32),
    Clz => zb::unary(e, i, Unary::Clz, W64),
    Clzw => zb::unary(e, i, Unary::Clz, W32),
    Ctz => zb::unary(e, i, Unary::Ctz, W64),
    Ctzw => zb::unary(e, i, Unary::Ctz, W32),
    Cpop => zb::unary(e, i, Unary::Popcnt, W64),
    Cpopw => zb::unary(e, i, Unary::Popcnt, W32),
    SextB => zb::unary(e, i, Unary::Sext, W8),
    SextH => zb::unary(e, i, Unary::Sext, W16),
    ZextH => zb::unary(e, i, Unary::Zext, W16),
    OrcB => zb::orc_b(e, i),
    Rev8 => zb::unary(e, i, Unary::Bswap, W64),
    // Zbc, Zbs and Zicond.
    Clmul => i::binary(e, i, Binary::ClMul, W64),
    Clmulh => i::binary(e, i, Binary::ClMulHigh, W64),
    Clmulr => zb::clmulr(e, i),
    Bclr => zb::clear_bit(e, i, Index::Register),
    Bext => zb::extract_bit(e, i, Index::Register),
    Binv => zb::with_bit(e, i, Binary::Xor, Index::Register),
    Bset => zb::with_bit(e, i, Binary::Or, Index::Register),
    Bclri => zb::clear_bit(e, i, Index::Immediate),
    Bexti => zb::extract_bit(e, i, Index::Immediate),
    Binvi => zb::with_bit(e, i, Binary::Xor, Index::Immediate),
    Bseti => zb::with_bit(e, i, Binary::Or, Index::Immediate),
    CzeroEqz => zb::zero_if(e, i, Eq),
    CzeroNez => zb::zero_if(e, i, Ne),
    // F with Zfa.
    Flw => f::load(e, i, S),
    Fsw => f::store(e, i, S),
    FmaddS => f::fused(e, i, FpOp::Madd, S),
    FmsubS => f::fused(e, i, FpOp::Msub, S),
    FnmsubS => f::fused(e, i, FpOp::Nmsub, S),
    FnmaddS => f::fused(e, i, FpOp::Nmadd, S),
    FaddS => f::arithmetic(e, i, FpOp::Add, S),
    FsubS => f::arithmetic(e, i, FpOp::Sub, S),
    FmulS => f::arithmetic(e, i, FpOp::Mul, S),
    FdivS => f::arithmetic(e, i, FpOp::Div, S),
    FsqrtS => f::rounded(e, i, FpOp::Sqrt, S),
    FsgnjS => f::sign_inject(e, i, Sign::Second, S),
    FsgnjnS => f::sign_inject(e, i, Sign::Inverted, S),
    FsgnjxS => f::sign_inject(e, i, Sign::Xor, S),
    FminS => f::exact(e, i, FpOp::Min, S),
    FmaxS => f::exact(e, i, FpOp::Max, S),
    FminmS => f::exact(e, i, FpOp::Minm, S),
    FmaxmS => f::exact(e, i, FpOp::Maxm, S),
    FleS => f::exact(e, i, FpOp::Le, S),
    FltS => f::exact(e, i, FpOp::Lt, S),
    FeqS => f::exact(e, i, FpOp::Eq, S),
    FleqS => f::exact(e, i, FpOp::Leq, S),
    FltqS => f::exact(e, i, FpOp::Ltq, S),
    FcvtWS => f::rounded(e, i, FpOp::ToW, S),
    FcvtWuS => f::rounded(e, i, FpOp::ToWu, S),
    FcvtLS => f::rounded(e, i, FpOp::ToL, S),
    FcvtLuS => f::rounded(e, i, FpOp::ToLu, S),
    FcvtSW => f::rounded(e, i, FpOp::FromW, S),
    FcvtSWu => f::rounded(e, i, FpOp::FromWu, S),
    FcvtSL => f::rounded(e, i, FpOp::FromL, S),
    FcvtSLu => f::rounded(e, i, FpOp::FromLu, S),
    FcvtSH => f::rounded(e, i, FpOp::FromH, S),
    FcvtSD => f::rounded(e, i, FpOp::FromD, S),
    FroundS => f::rounded(e, i, FpOp::Round, S),
    FroundnxS => f::rounded(e, i, FpOp::Roundnx, S),
    FclassS => f::exact(e, i, FpOp::Class, S),
    FmvXW => f::move_to_x(e, i, S),
    FmvWX => f::move_from_x(e, i, S),
    FliS => f::load_constant(e, i, S),
    // D with Zfa.
    Fld => f::load(e, i, D),
    Fsd => f::store(e, i, D),
    FmaddD => f::fused(e, i, FpOp::Madd, D),
    FmsubD => f::fused(e, i, FpOp::Msub, D),
    FnmsubD => f::fused(e, i, FpOp::Nmsub, D),
    FnmaddD => f::fused(e, i, FpOp::Nmadd, D),
    FaddD => f::arithmetic(e, i, FpOp::Add, D),
    FsubD => f::arithmetic(e, i, FpOp::Sub, D),
    FmulD => f::arithmetic(e, i, FpOp::Mul, D),
    FdivD => f::arithmetic(e, i, FpOp::Div, D),
    FsqrtD => f::rounded(e, i, FpOp::Sqrt, D),
    FsgnjD => f::sign_inject(e, i, Sign::Second, D),
    FsgnjnD => f::sign_inject(e, i, Sign::Inverted, D),
    FsgnjxD => f::sign_inject(e, i, Sign::Xor, D),
    FminD => f::exact(e, i, FpOp::Min, D),
    FmaxD => f::exact(e, i, FpOp::Max, D),
    FminmD => f::exact(e, i, FpOp::Minm, D),
    FmaxmD => f::exact(e, i, FpOp::Maxm, D),
    FleD => f::exact(e, i, FpOp::Le, D),
    FltD => f::exact(e, i, FpOp::Lt, D),
    FeqD => f::exact(e, i, FpOp::Eq, D),
    FleqD => f::exact(e, i, FpOp::Leq, D),
    FltqD => f::exact(e, i, FpOp::Ltq, D),
    FcvtWD => f::rounded(e, i, FpOp::ToW, D),
    FcvtWuD => f::rounded(e, i, FpOp::ToWu, D),
    FcvtLD => f::rounded(e, i, FpOp::ToL, D),
    FcvtLuD => f::rounded(e, i, FpOp::ToLu, D),
    FcvtmodWD => f::exact(e, i, FpOp::ToWModular, D),
    FcvtDW => f::rounded(e, i, FpOp::FromW, D),
    FcvtDWu => f::rounded(e, i, FpOp::FromWu, D),
    FcvtDL => f::rounded(e, i, FpOp::FromL, D),
    FcvtDLu => f::rounded(e, i, FpOp::FromLu, D),
    FcvtDH => f::rounded(e, i, FpOp::FromH, D),
    FcvtDS => f::rounded(e, i, FpOp::FromS, D),
    FroundD => f::rounded(e, i, FpOp::Round, D),
    FroundnxD => f::rounded(e, i, FpOp::Roundnx, D),
    FclassD => f::exact(e, i, FpOp::Class, D),
    FmvXD => f::move_to_x(e, i, D),
    FmvDX => f::move_from_x(e, i, D),
    FliD => f::load_constant(e, i, D),
    // Zfh with Zfa.
    Flh => f::load(e, i, H),
    Fsh => f::store(e, i, H),
    FmaddH => f::fused(e, i, FpOp::Madd, H),
    FmsubH => f::fused(e, i, FpOp::Msub, H),
    FnmsubH => f::fused(e, i, FpOp::Nmsub, H),
    FnmaddH => f::fused(e, i, FpOp::Nmadd, H),
    FaddH => f::arithmetic(e, i, FpOp::Add, H),
    FsubH => f::arithmetic(e, i, FpOp::Sub, H),
    FmulH => f::arithmetic(e, i, FpOp::Mul, H),
    FdivH => f::arithmetic(e, i, FpOp::Div, H),
    FsqrtH => f::rounded(e, i, FpOp::Sqrt, H),
    FsgnjH => f::sign_inject(e, i, Sign::Second, H),
    FsgnjnH => f::sign_inject(e, i, Sign::Inverted, H),
    FsgnjxH => f::sign_inject(e, i, Sign::Xor, H),
    FminH => f::exact(e, i, FpOp::Min, H),
    FmaxH => f::exact(e, i, FpOp::Max, H),
    FminmH => f::exact(e, i, FpOp::Minm, H),
    FmaxmH => f::exact(e, i, FpOp::Maxm, H),
    FleH => f::exact(e, i, FpOp::Le, H),
    FltH => f::exact(e, i, FpOp::Lt, H),
    FeqH => f::exact(e, i, FpOp::Eq, H),
    FleqH => f::exact(e, i, FpOp::Leq, H),
    FltqH => f::exact(e, i, FpOp::Ltq, H),
    FcvtWH => f::rounded(e, i, FpOp::ToW, H),
    FcvtWuH => f::rounded(e, i, FpOp::ToWu, H),
    FcvtLH => f::rounded(e, i, FpOp::ToL, H),
    FcvtLuH => f::rounded(e, i, FpOp::ToLu, H),
    FcvtHW => f::rounded(e, i, FpOp::FromW, H),
    FcvtHWu => f::rounded(e, i, FpOp::FromWu, H),
    FcvtHL => f::rounded(e, i, FpOp::FromL, H),
    FcvtHLu => f::rounded(e, i, FpOp::FromLu, H),
    FcvtHS => f::rounded(e, i, FpOp::FromS, H),
    FcvtHD => f::rounded(e, i, FpOp::FromD, H),
    FroundH => f::rounded(e, i, FpOp::Round, H),
    FroundnxH => f::rounded(e, i, FpOp::Roundnx, H),
    FclassH => f::exact(e, i, FpOp::Class, H),
    FmvXH => f::move_to_x(e, i, H),
    FmvHX => f::move_from_x(e, i, H),
    FliH => f::load_constant(e, i, H),
}
