//! The helpers of x86_64, and the table of all of them. Each class of instructions has its own, numbered from its
//! `FIRST_` on; numbers in between are unused.

pub mod address;
mod decimal;
pub mod float;
pub mod integer;
pub mod string;
pub mod system;
pub mod vector;
pub mod x87;

use super::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::{HelperEffects, HelperId, HelperInfo, Trap};

/// Number of the first helper of integer instructions.
pub const FIRST_INTEGER: u16 = 0;
/// Number of the first helper of system instructions.
pub const FIRST_SYSTEM: u16 = 64;
/// Number of the first helper of x87 instructions.
pub const FIRST_X87: u16 = 192;
/// Number of the first helper of vector instructions.
pub const FIRST_VECTOR: u16 = 320;

/// Number of the first helper of floating-point vector instructions.
pub const FIRST_FLOAT: u16 = 768;

/// A function of registers and system state that changes nothing.
pub const READS: HelperEffects =
    HelperEffects { traps: false, reads_state: true, writes_state: false, memory: false };
/// Reads and writes registers, cannot trap.
pub const REGISTERS: HelperEffects =
    HelperEffects { traps: false, reads_state: true, writes_state: true, memory: false };
/// Reads and writes registers, may trap.
pub const TRAPPING: HelperEffects =
    HelperEffects { traps: true, reads_state: true, writes_state: true, memory: false };
/// A function of its arguments that may trap.
pub const CHECKING: HelperEffects =
    HelperEffects { traps: true, reads_state: true, writes_state: false, memory: false };

/// Declares the helpers of one class: `Name = "name in IR", effects, function;`, or with what processors have an instruction
/// for as well.
macro_rules! helpers {
    ($first:expr; $($(#[$doc:meta])* $name:ident = $text:literal, $effects:expr, $function:expr $(, $known:expr)?;)*) => {
        /// A helper of this class.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Helper { $($(#[$doc])* $name,)* }

        impl Helper {
            /// Number of the helper.
            pub const fn id(self) -> c2w_engine::guest::HelperId {
                c2w_engine::guest::HelperId($first + self as u16)
            }
        }

        /// Name and effects of each, from the first number of the class on.
        pub const INFO: &[c2w_engine::guest::HelperInfo] =
            &[$(c2w_engine::guest::HelperInfo { name: $text, effects: $effects, function: helpers!(@ $($known)?) },)*];

        /// Runs the helper with number `index` in this class.
        #[inline(always)]
        pub(super) fn call(
            cpu: &mut c2w_engine::cpu::Cpu<crate::x86_64::guest::X86_64>,
            index: u16,
            args: [u64; 4],
        ) -> Result<u64, c2w_engine::guest::Trap> {
            match index {
                $(index if index == Helper::$name as u16 => $function(cpu, args),)*
                _ => panic!("x86_64 has no helper {index} of this class"),
            }
        }
    };
    (@) => {
        None
    };
    (@ $known:expr) => {
        Some($known)
    };
}
use helpers;

const COUNT: usize = FIRST_FLOAT as usize + float::INFO.len();

/// Name and effects of every helper, by number.
pub static HELPERS: [HelperInfo; COUNT] = {
    let classes = [
        (FIRST_INTEGER, integer::INFO),
        (FIRST_SYSTEM, system::INFO),
        (FIRST_X87, x87::INFO),
        (FIRST_VECTOR, vector::INFO),
        (FIRST_FLOAT, float::INFO),
    ];
    let mut table = [HelperInfo { name: "unused", effects: HelperEffects::ALL, function: None }; COUNT];
    let mut class = 0;
    while class < classes.len() {
        let (first, info) = classes[class];
        let end = if class + 1 < classes.len() { classes[class + 1].0 as usize } else { COUNT };
        assert!(first as usize + info.len() <= end, "the numbers of two classes overlap");
        let mut i = 0;
        while i < info.len() {
            table[first as usize + i] = info[i];
            i += 1;
        }
        class += 1;
    }
    table
};

/// Runs the helper with number `id`. Lifts name helpers by constants, so that after inlining this is a direct call.
///
/// # Panics
/// If no helper has this number: a mistake of a lift.
#[inline(always)]
pub fn call(cpu: &mut Cpu<X86_64>, id: HelperId, args: [u64; 4]) -> Result<u64, Trap> {
    match id.0 {
        number @ FIRST_FLOAT.. => float::call(cpu, number - FIRST_FLOAT, args),
        number @ FIRST_VECTOR.. => vector::call(cpu, number - FIRST_VECTOR, args),
        number @ FIRST_X87.. => x87::call(cpu, number - FIRST_X87, args),
        number @ FIRST_SYSTEM.. => system::call(cpu, number - FIRST_SYSTEM, args),
        number => integer::call(cpu, number, args),
    }
}
