//! The helpers of x86_64, and the table of them.

use super::flags;
use super::insn::Condition;
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{Stopped, with_words};
use c2w_engine::guest::{Guest, HelperEffects, HelperId, HelperInfo, Trap};

/// A helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Helper {
    /// (condition number): 1 if it holds for the flags, whoever produced them.
    Condition = 0,
    /// (): the arithmetic flags.
    Flags = 1,
}

impl Helper {
    /// Number of the helper.
    pub const fn id(self) -> HelperId {
        HelperId(self as u16)
    }
}

const READS: HelperEffects =
    HelperEffects { traps: false, reads_state: true, writes_state: false, memory: false };

/// Name and effects of every helper, by number.
pub static HELPERS: [HelperInfo; 2] =
    [HelperInfo { name: "condition", effects: READS }, HelperInfo { name: "flags", effects: READS }];

/// Runs the helper with number `id`.
///
/// # Panics
/// If no helper has this number: a mistake of a lift.
pub fn call<G: Guest>(cpu: &mut Cpu<G>, id: HelperId, args: [u64; 4]) -> Result<u64, Trap> {
    let result: Result<u64, Stopped> = with_words(cpu, |e| match id.0 {
        0 => flags::condition(e, Condition(args[0] as u8)),
        1 => flags::all(e),
        _ => panic!("x86_64 has no helper {}", id.0),
    });
    Ok(result.expect("flags are functions of registers"))
}
