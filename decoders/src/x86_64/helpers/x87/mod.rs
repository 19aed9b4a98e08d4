//! Helpers of x87 instructions, and of those that save and restore the x87 and vector state.
//!
//! Every instruction of x87 proper is one helper: stack faults, rounding and unmasked exceptions make results depend on
//! too much to say it in the engine's words.

mod area;
mod arithmetic;
mod compare;
mod decimal;
mod environment;
mod form;
mod function;
mod load;
mod memory;
#[cfg(all(test, target_arch = "x86_64"))]
mod native;
mod store;
#[cfg(test)]
mod tests;
mod unit;
mod xsave;

use super::helpers;
use crate::x86_64::guest::X86_64;
use crate::x86_64::{control, trap};
pub use area::Form;
pub use arithmetic::Arithmetic;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::{HelperEffects, Trap};
pub use compare::Comparison;
pub use environment::CONTROL_BITS;
pub use form::{Operands, Source};
pub use store::{TRUNCATING, UNCHECKED};
pub use unit::{ERROR_SUMMARY, INIT_CONTROL};

use super::{CHECKING, REGISTERS};

/// Reads and writes registers and memory, may trap.
const EVERYTHING: HelperEffects = HelperEffects::ALL;

helpers! { super::FIRST_X87;
    /// (): the x87 state after FNINIT.
    Init = "x87_init", REGISTERS, environment::init;
    /// (): clears the exceptions.
    Clear = "x87_clear", REGISTERS, environment::clear;
    /// (control word): FLDCW.
    LoadControl = "x87_load_control", REGISTERS, environment::load_control;
    /// (): #NM if FWAIT is to raise it, #MF if an unmasked exception waits.
    Wait = "x87_wait", CHECKING, wait;
    /// (address, bytes of the environment): FNSTENV.
    StoreEnvironment = "x87_store_environment", EVERYTHING, environment::store_environment;
    /// (address, bytes of the environment): FLDENV.
    LoadEnvironment = "x87_load_environment", EVERYTHING, environment::load_environment;
    /// (address, bytes of the state): FNSAVE.
    Save = "x87_save", EVERYTHING, environment::save;
    /// (address, bytes of the state): FRSTOR.
    Restore = "x87_restore", EVERYTHING, environment::restore;
    /// (address, form): FXSAVE.
    Fxsave = "fxsave", EVERYTHING, area::fxsave;
    /// (address, form): FXRSTOR.
    Fxrstor = "fxrstor", EVERYTHING, area::fxrstor;
    /// (address, components, form): XSAVE, XSAVEOPT, XSAVEC.
    Xsave = "xsave", EVERYTHING, xsave::xsave;
    /// (address, components, form): XRSTOR.
    Xrstor = "xrstor", EVERYTHING, xsave::xrstor;
    /// (operands, value low, value high): FLD, FILD, FBLD.
    Load = "x87_load", REGISTERS, load::load;
    /// (operands): FLDZ, FLD1 and their kin.
    Constant = "x87_constant", REGISTERS, load::constant;
    /// (operands): FXCH.
    Exchange = "x87_exchange", REGISTERS, load::exchange;
    /// (operands, condition): FCMOVcc.
    MoveIf = "x87_move_if", REGISTERS, load::move_if;
    /// (operands): FFREE, FFREEP.
    Free = "x87_free", REGISTERS, load::free;
    /// (operands): FINCSTP, FDECSTP.
    Turn = "x87_turn", REGISTERS, load::turn;
    /// (operands, value low, value high): FADD, FSUB, FMUL, FDIV and their kin.
    Arithmetic = "x87_arithmetic", REGISTERS, arithmetic::arithmetic;
    /// (operands, value low, value high): FCOM, FUCOM, FICOM, FTST.
    Compare = "x87_compare", REGISTERS, compare::compare_conditions;
    /// (operands): FCOMI, FUCOMI; gives the flags.
    CompareFlags = "x87_compare_flags", REGISTERS, compare::compare_flags;
    /// (): FXAM.
    Examine = "x87_examine", REGISTERS, compare::examine;
    /// (operands, address): stores to memory.
    Store = "x87_store", EVERYTHING, store::store;
    /// (operands): FST to a register.
    StoreRegister = "x87_store_register", REGISTERS, store::store_register;
    /// (): FCHS.
    ChangeSign = "x87_change_sign", REGISTERS, function::change_sign;
    /// (): FABS.
    Absolute = "x87_absolute", REGISTERS, function::absolute;
    /// (): FSQRT.
    SquareRoot = "x87_square_root", REGISTERS, function::square_root;
    /// (): FRNDINT.
    Round = "x87_round", REGISTERS, function::round;
    /// (): FXTRACT.
    Extract = "x87_extract", REGISTERS, function::extract;
    /// (operands): FPREM, FPREM1.
    Remainder = "x87_remainder", REGISTERS, function::remainder;
    /// (): FSCALE.
    Scale = "x87_scale", REGISTERS, function::scale;
    /// (): FSIN.
    Sine = "x87_sine", REGISTERS, function::sine;
    /// (): FCOS.
    Cosine = "x87_cosine", REGISTERS, function::cosine;
    /// (): FSINCOS.
    SineAndCosine = "x87_sine_and_cosine", REGISTERS, function::sine_and_cosine;
    /// (): FPTAN.
    Tangent = "x87_tangent", REGISTERS, function::tangent;
    /// (): FPATAN.
    Arctangent = "x87_arctangent", REGISTERS, function::arctangent;
    /// (): F2XM1.
    Exponential = "x87_exponential", REGISTERS, function::exponential;
    /// (): FYL2X.
    Logarithm = "x87_logarithm", REGISTERS, function::logarithm;
    /// (): FYL2XP1.
    LogarithmPlus1 = "x87_logarithm_plus_1", REGISTERS, function::logarithm_plus_1;
}

/// What FWAIT raises (SDM 2A, WAIT). CR0.NE counts as set: there is no external interrupt for x87 errors.
fn wait(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    const BOTH: u64 = control::CR0_MP | control::CR0_TS;
    if cpu.guest.cr0 & BOTH == BOTH {
        return Err(trap::plain(trap::NO_FPU));
    }
    if unit::Unit::of(cpu).status() & ERROR_SUMMARY != 0 {
        return Err(trap::plain(trap::X87_ERROR));
    }
    Ok(0)
}
