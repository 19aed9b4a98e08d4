//! Floating-point instructions on vector registers: which there are, and what decoding resolves for them.

use super::{Class, Source};
use crate::x86_64::insn::{Insn, Op};
use crate::x86_64::mode::ModeBits;
use crate::x86_64::trap;
use c2w_engine::guest::TrapCause;
use iced_x86::{Mnemonic, Register};

/// Instructions whose names are the manual's.
macro_rules! float_ops {
    ($($name:ident)*) => {
        /// What a floating-point instruction on vector registers does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are those of the manual")]
        pub enum FloatOp { $($name,)* }

        fn of(mnemonic: Mnemonic) -> Option<FloatOp> {
            match mnemonic {
                $(Mnemonic::$name => Some(FloatOp::$name),)*
                _ => None,
            }
        }
    };
}
float_ops! {
    Addps Addpd Addss Addsd Subps Subpd Subss Subsd Mulps Mulpd Mulss Mulsd Divps Divpd Divss Divsd
    Sqrtps Sqrtpd Sqrtss Sqrtsd Minps Minpd Minss Minsd Maxps Maxpd Maxss Maxsd
    Rcpps Rcpss Rsqrtps Rsqrtss Addsubps Addsubpd Haddps Haddpd Hsubps Hsubpd Dpps Dppd
    Roundps Roundpd Roundss Roundsd Cmpps Cmppd Cmpss Cmpsd Comiss Comisd Ucomiss Ucomisd
    Cvtdq2ps Cvtdq2pd Cvtps2dq Cvttps2dq Cvtpd2dq Cvttpd2dq Cvtps2pd Cvtpd2ps Cvtss2sd Cvtsd2ss
    Cvtsi2ss Cvtsi2sd Cvtss2si Cvttss2si Cvtsd2si Cvttsd2si
    Cvtpi2ps Cvtpi2pd Cvtps2pi Cvttps2pi Cvtpd2pi Cvttpd2pi
    Ldmxcsr Stmxcsr
}

/// The class of an instruction, or the exception that it always raises; `None` if it is not one of these.
pub fn classify(source: &Source<'_>) -> Result<Option<Class>, TrapCause> {
    let Some(op) = of(source.insn.mnemonic()) else {
        return Ok(None);
    };
    // The string instruction has the same name.
    if op == FloatOp::Cmpsd && source.insn.op0_register() == Register::None {
        return Ok(None);
    }
    if source.mode.contains(ModeBits::EMULATE) || !source.mode.contains(ModeBits::SSE) {
        return Err(trap::UNDEFINED);
    }
    if source.mode.contains(ModeBits::TASK_SWITCHED) {
        return Err(trap::NO_FPU);
    }
    // Code is decoded differently where exceptions are let through.
    let class = if op == FloatOp::Ldmxcsr { Class::last } else { Class::plain };
    Ok(Some(class(Op::Float(op))))
}

/// Resolves what only these instructions have.
pub fn finish(_insn: &mut Insn, _op: FloatOp, _source: &Source<'_>) -> Result<(), TrapCause> {
    Ok(())
}
