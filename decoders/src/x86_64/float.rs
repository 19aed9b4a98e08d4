//! The engine's operations on vectors of floating-point numbers: which instruction is which, and what they mean, which the
//! helpers of the instructions say.

use super::guest::X86_64;
use super::helpers::float::{self as helpers, Helper};
use super::insn::FloatOp;
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::{Slot, VectorExtract, VectorInsert, VectorOp};

/// An instruction as an operation of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Of two vectors.
    Compute(VectorOp),
    /// From an integer of 32 or 64 bits.
    Insert(VectorInsert, VectorInsert),
    /// To an integer of 32 or 64 bits.
    Extract(VectorExtract, VectorExtract),
    /// To flags.
    Compare(VectorExtract),
}

/// What a helper takes.
enum Form {
    /// The low numbers and the immediate; it gives the low half.
    Scalar(Helper),
    /// The destination with the immediate, and the second operand.
    Packed(Helper),
    /// Two integers to doubles, one by one.
    Pair,
}

macro_rules! operations {
    (scalar: $($scalar:ident)*; packed: $($packed:ident)*; compare: $($compare:ident)*;
     insert: $($insert:ident $insert_wide:ident)*; extract: $($extract:ident $extract_wide:ident)*;) => {
        /// The operation that an instruction is, if the engine has one.
        pub fn word(op: FloatOp) -> Option<Word> {
            Some(match op {
                $(FloatOp::$scalar => Word::Compute(VectorOp::$scalar),)*
                $(FloatOp::$packed => Word::Compute(VectorOp::$packed),)*
                $(FloatOp::$compare => Word::Compare(VectorExtract::$compare),)*
                $(FloatOp::$insert => Word::Insert(VectorInsert::$insert, VectorInsert::$insert_wide),)*
                $(FloatOp::$extract => Word::Extract(VectorExtract::$extract, VectorExtract::$extract_wide),)*
                FloatOp::Cvtdq2pd => Word::Compute(VectorOp::Cvtdq2pd),
                _ => return None,
            })
        }

        fn form(op: VectorOp) -> Form {
            match op {
                $(VectorOp::$scalar => Form::Scalar(Helper::$scalar),)*
                $(VectorOp::$packed => Form::Packed(Helper::$packed),)*
                VectorOp::Cvtdq2pd => Form::Pair,
                op => unreachable!("{} is the engine's", op.name()),
            }
        }

        fn inserting(op: VectorInsert) -> Helper {
            match op {
                $(VectorInsert::$insert => Helper::$insert, VectorInsert::$insert_wide => Helper::$insert_wide,)*
                op => unreachable!("{} is the engine's", op.name()),
            }
        }

        fn extracting(op: VectorExtract) -> Helper {
            match op {
                $(VectorExtract::$compare => Helper::$compare,)*
                $(VectorExtract::$extract => Helper::$extract,)*
                $(VectorExtract::$extract_wide => Helper::$extract_wide,)*
                op => unreachable!("{} is the engine's", op.name()),
            }
        }
    };
}
operations! {
    scalar: Addss Addsd Subss Subsd Mulss Mulsd Divss Divsd Sqrtss Sqrtsd Minss Minsd Maxss Maxsd
        Roundss Roundsd Cmpss Cmpsd Cvtss2sd Cvtsd2ss;
    packed: Addps Addpd Subps Subpd Mulps Mulpd Divps Divpd Sqrtps Sqrtpd Minps Minpd Maxps Maxpd
        Addsubps Addsubpd Haddps Haddpd Hsubps Hsubpd Roundps Roundpd Cmpps Cmppd
        Cvtdq2ps Cvtps2dq Cvttps2dq Cvtpd2dq Cvttpd2dq Cvtps2pd Cvtpd2ps;
    compare: Comiss Comisd Ucomiss Ucomisd;
    insert: Cvtsi2ss Cvtsi2ssWide Cvtsi2sd Cvtsi2sdWide;
    extract: Cvtss2si Cvtss2siWide Cvttss2si Cvttss2siWide Cvtsd2si Cvtsd2siWide Cvttsd2si Cvttsd2siWide;
}

/// Calls a helper, which raises no exception: code that has operations of the engine is only run where all are masked.
fn call(cpu: &mut Cpu<X86_64>, helper: Helper, args: [u64; 4]) -> u64 {
    helpers::run(cpu, helper, args).expect("every exception is masked")
}

fn half(cpu: &Cpu<X86_64>, slot: Slot) -> u64 {
    cpu.slots[usize::from(slot.0)]
}

/// Runs an operation whose result is a vector.
pub fn run(cpu: &mut Cpu<X86_64>, op: VectorOp, imm: u8, to: Slot, a: Slot, b: Slot) {
    let (first, [lo, hi]) = (cpu.vector(a), cpu.vector(b));
    match form(op) {
        Form::Scalar(helper) => {
            let low = call(cpu, helper, [first[0], lo, imm.into(), 0]);
            cpu.set_vector(to, [low, first[1]]);
        }
        Form::Packed(helper) => {
            cpu.set_vector(to, first);
            call(cpu, helper, [u64::from(to.0) | u64::from(imm) << 8, lo, hi, 0]);
        }
        Form::Pair => {
            let numbers = [lo, lo >> 32].map(|integer| call(cpu, Helper::Cvtsi2sd, [0, integer, 0, 0]));
            cpu.set_vector(to, numbers);
        }
    }
}

/// Runs an operation that puts an integer into a vector.
pub fn insert(cpu: &mut Cpu<X86_64>, op: VectorInsert, to: Slot, value: u64) {
    let vector = cpu.vector(to);
    let low = call(cpu, inserting(op), [vector[0], value, 0, 0]);
    cpu.set_vector(to, [low, vector[1]]);
}

/// Runs an operation whose result is a number.
pub fn extract(cpu: &mut Cpu<X86_64>, op: VectorExtract, a: Slot, b: Slot) -> u64 {
    let (a, b) = (half(cpu, a), half(cpu, b));
    let helper = extracting(op);
    // Comparisons have two operands, conversions the second one.
    let is_comparison = matches!(helper, Helper::Comiss | Helper::Comisd | Helper::Ucomiss | Helper::Ucomisd);
    call(cpu, helper, if is_comparison { [a, b, 0, 0] } else { [b, 0, 0, 0] })
}
