//! What processors of different makers do differently where no manual says which is right, or where their manuals say
//! different things: either will do.
//!
//! Our vCPU mostly does what processors of AMD do. Encodings that makers treat differently are not run at all
//! (`tune::is_allowed`).

use super::compare::address_of_memory;
use super::generate::{Case, has_address_of_32_bits};
use super::state::{Event, Outcome, X87};
use super::{approximate, tune, window};
use c2w_decoders::x86_64::flags;
use iced_x86::{Code, Mnemonic, OpKind};
use std::ops::Range;

/// ES in the x87 status word: an exception is pending.
const PENDING: u16 = 1 << 7;
/// #BR.
const BOUND_RANGE: Event = Event::Exception { vector: 5, error: None, address: None };
/// #GP(0).
const PROTECTION: Event = Event::Exception { vector: 13, error: Some(0), address: None };
/// #AC(0).
const ALIGNMENT: Event = Event::Exception { vector: 17, error: Some(0), address: None };
/// The pages at the ends of what 32-bit addresses and those of the lower half reach.
const LAST_PAGE_32: u64 = (1 << 32) - window::PAGE;
const LAST_PAGE_64: Range<u64> = (1 << 47) - window::PAGE..1 << 47;

/// Whether both ends are right although one is a fault and the other is none, or another kind of it: nothing else of such
/// a case is compared.
pub(super) fn is_open(case: &Case, want: &Outcome, got: &Outcome) -> bool {
    let insn = &case.insn;
    let aligned = address_of_memory(case).is_multiple_of(16);
    match insn.mnemonic() {
        // The upper bound is read although the index is below the lower one, or is not.
        Mnemonic::Bound => want.event == BOUND_RANGE && is_access_fault(got.event),
        // Whether alignment is checked where 16 bytes need none is the processor's choice (SDM 3A 6.15, interrupt 17).
        _ if got.event == ALIGNMENT && insn.memory_size().size() == 16 => want.event != ALIGNMENT,
        // Two bytes of a selector's place are written, or all (SDM 2B, PUSH).
        Mnemonic::Push if insn.op0_register().is_segment_register() => {
            want.event == Event::Done && got.event == ALIGNMENT && case.state.gpr[4].is_multiple_of(2)
        }
        // Memory operands of SHA must be aligned for Intel (SDM 2A 2.4, type 4), not for AMD.
        mnemonic if is_sha(mnemonic) => !aligned && got.event == PROTECTION,
        // Nothing is stored where the exception is not masked; processors of AMD ask for the right to do so before.
        mnemonic if is_x87_store(mnemonic) => {
            let raised = want.state.x87.status & !case.state.x87.status & PENDING != 0;
            want.event == Event::Done && raised && is_access_fault(got.event)
        }
        mnemonic => is_disputed(mnemonic, &case.state.x87),
    }
}

/// x87 operations that processors of one maker do not agree on: scaling a denormal number by 1 where underflow is not masked,
/// and the sine of the least normal number written without an exponent.
fn is_disputed(mnemonic: Mnemonic, x87: &X87) -> bool {
    const LEADING_BIT: u64 = 1 << 63;
    const UNDERFLOW_MASK: u16 = 1 << 4;
    const SIGN: u16 = 1 << 15;
    let [first, second] = [0, 1].map(|number| {
        let (significand, exponent) = x87.registers[x87.physical(number)];
        (significand, exponent & !SIGN)
    });
    match mnemonic {
        Mnemonic::Fscale => {
            let denormal = first.1 == 0 && first.0 < LEADING_BIT;
            denormal && second == (0, 0) && x87.control & UNDERFLOW_MASK == 0
        }
        Mnemonic::Fsin => first == (LEADING_BIT, 0),
        _ => false,
    }
}

/// Makes equal what may differ.
pub(super) fn forgive(case: &Case, want: &mut Outcome, got: &mut Outcome) {
    forgive_faults(case, want, got);
    if want.event != Event::Done && want.event == got.event {
        forgive_what_faults_leave(case, want, got);
    }
    forgive_upper_halves(case, want, got);
    forgive_x87_pointers(case, want, got);
    if case.insn.mnemonic() == Mnemonic::Dpps {
        forgive_nans(case, want, got);
    }
}

/// Which of several reasons for a fault comes first.
fn forgive_faults(case: &Case, want: &mut Outcome, got: &mut Outcome) {
    let mnemonic = case.insn.mnemonic();
    if accesses_in_parts(mnemonic)
        && let (Some(_), Some(_)) = (page_fault(want), page_fault(got))
    {
        want.event = got.event;
        if matches!(mnemonic, Mnemonic::Popa | Mnemonic::Popad) {
            want.state.gpr = got.state.gpr;
        }
    }
    if is_access_fault(want.event) && is_access_fault(got.event) && is_order_open(case, want, got) {
        want.event = got.event;
    }
    // Processors of AMD read 32 bits for this one, too.
    if case.insn.code() == Code::Movsxd_r16_rm16 && is_access_fault(want.event) {
        want.clone_from(got);
    }
    // An address that is neither aligned nor canonical.
    if let Event::Exception { vector: 12, .. } = want.event
        && accesses_in_parts(mnemonic)
        && !address_of_memory(case).is_multiple_of(16)
        && got.event == PROTECTION
    {
        want.event = got.event;
    }
    // Accesses around the end of a 4 GiB segment "may or may not cause the indicated exceptions" (SDM 3A 5.3).
    let found = (page_fault(want), page_fault(got));
    if case.code_32
        && is_access_fault(want.event)
        && is_access_fault(got.event)
        && let (Some(address), None) | (None, Some(address)) = found
        && address >= LAST_PAGE_32
    {
        want.clone_from(got);
    }
}

/// Whether no manual tells which of several reasons for a fault comes first, so that processors differ.
fn is_order_open(case: &Case, want: &Outcome, got: &Outcome) -> bool {
    use Mnemonic::{Cmpsb, Cmpsd, Cmpsq, Cmpsw};
    // A misaligned access to a page without rights, or to an address that is not canonical.
    let alignment = want.event == ALIGNMENT;
    // Which of its two operands an instruction reads first.
    let operands = matches!(case.insn.mnemonic(), Cmpsb | Cmpsw | Cmpsd | Cmpsq);
    let at_the_end = [want, got].into_iter().filter_map(page_fault).any(|at| LAST_PAGE_64.contains(&at));
    let checks = case.state.rflags & flags::AC != 0;
    alignment || operands || accesses_in_parts(case.insn.mnemonic()) && (at_the_end || checks)
}

/// What is left by an instruction that faulted, as it did on both sides.
fn forgive_what_faults_leave(case: &Case, want: &mut Outcome, got: &Outcome) {
    use Mnemonic as M;
    match case.insn.mnemonic() {
        // Processors may have entered MMX mode when the store faults.
        M::Maskmovq | M::Movntq | M::Movd | M::Movq if case.insn.op1_register().is_mm() => {
            let (from, to) = (&got.state.x87, &mut want.state.x87);
            (to.status, to.tags) = (from.status, from.tags);
        }
        // The flags are those of the last turn, or those from before (SDM 2B, REP).
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq | M::Scasb | M::Scasw | M::Scasd | M::Scasq => {
            want.state.rflags = want.state.rflags & !flags::ARITHMETIC | got.state.rflags & flags::ARITHMETIC;
        }
        _ => {}
    }
}

/// Repetitions with 32-bit addresses that do nothing, or not all: the registers they count in may have been written, which
/// clears the upper halves.
fn forgive_upper_halves(case: &Case, want: &mut Outcome, got: &mut Outcome) {
    const LOW: u64 = 0xffff_ffff;
    let insn = &case.insn;
    let is_narrow = (0..insn.op_count()).any(|index| has_address_of_32_bits(insn.op_kind(index)));
    let none = case.state.gpr[1] & LOW == 0;
    if tune::repeats(insn) && is_narrow && (none || want.event != Event::Done) {
        for register in [1, 6, 7] {
            want.state.gpr[register] &= LOW;
            got.state.gpr[register] &= LOW;
        }
    }
}

/// Processors of AMD load and store the pointers of the last x87 instruction only while an exception is pending (APM 5,
/// FXSAVE).
fn forgive_x87_pointers(case: &Case, want: &mut Outcome, got: &Outcome) {
    let (from, to) = (&got.state.x87, &mut want.state.x87);
    if to.status & PENDING == 0 {
        (to.opcode, to.ip, to.dp) = (from.opcode, from.ip, from.dp);
    } else if !(0..case.insn.op_count()).any(|index| case.insn.op_kind(index) == OpKind::Memory) {
        // Then the data pointer is from before, and was not loaded.
        to.dp = from.dp;
    }
}

/// Which of several NaNs a sum of products is (the order of the additions is not told).
fn forgive_nans(case: &Case, want: &mut Outcome, got: &Outcome) {
    let number = case.insn.op0_register().number() & 15;
    for (want, got) in want.state.xmm[number].iter_mut().zip(got.state.xmm[number]) {
        approximate::forgive_singles(want, got, |want, got| want.is_nan() && got.is_nan());
    }
}

/// Whether a byte of memory is not compared. `offset` is from the address of the operand: from RSP before the instruction
/// for what is pushed. `faulted` tells whether the instruction did.
pub(super) fn is_byte_open(case: &Case, faulted: bool, offset: i64) -> bool {
    use Mnemonic as M;
    let is_pending = case.state.x87.status & PENDING != 0;
    let range = match case.insn.mnemonic() {
        // A pushed selector leaves the upper half as it is or clears it (SDM 2B, PUSH).
        M::Push if case.insn.op0_register().is_segment_register() => -6..0,
        // The return address has been pushed when the target turns out to be none, or has not.
        M::Call if faulted => -8..0,
        M::Fxsave
        | M::Fxsave64
        | M::Xsave
        | M::Xsave64
        | M::Xsavec
        | M::Xsavec64
        | M::Xsaveopt
        | M::Xsaveopt64 => {
            // Pointers are stored while an exception is pending or always; MXCSR_MASK is the processor's (SDM 1 11.6.6).
            return !is_pending && (6..24).contains(&offset) || (28..32).contains(&offset);
        }
        // The pointers of the last x87 instruction are lost where the system lets another thread run before this one.
        M::Fnstenv | M::Fnsave if !is_pending => match case.insn.code() {
            Code::Fnstenv_m14byte | Code::Fnsave_m94byte => 6..14,
            _ => 12..28,
        },
        _ => return false,
    };
    range.contains(&offset)
}

/// Whether an exception says that memory may not be accessed in this way.
fn is_access_fault(event: Event) -> bool {
    matches!(
        event,
        Event::Exception { vector: 14, .. } | Event::Exception { vector: 12 | 13 | 17, error: Some(0), .. }
    )
}

/// The address of a page fault.
pub(super) fn page_fault(outcome: &Outcome) -> Option<u64> {
    match outcome.event {
        Event::Exception { vector: 14, address, .. } => address,
        _ => None,
    }
}

/// Instructions that access memory in parts whose order no manual tells: which byte a page fault is for is not compared.
/// POPA may have loaded some registers before.
pub(super) fn accesses_in_parts(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Fldenv
            | M::Fnstenv
            | M::Frstor
            | M::Fnsave
            | M::Fxsave
            | M::Fxsave64
            | M::Fxrstor
            | M::Fxrstor64
            | M::Xsave
            | M::Xsave64
            | M::Xsavec
            | M::Xsavec64
            | M::Xsaveopt
            | M::Xsaveopt64
            | M::Xrstor
            | M::Xrstor64
            | M::Fld
            | M::Fstp
            | M::Fbld
            | M::Fbstp
            | M::Enter
            | M::Pusha
            | M::Pushad
            | M::Popa
            | M::Popad
            | M::Cmpxchg16b
            | M::Maskmovq
            | M::Maskmovdqu
    )
}

fn is_sha(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{Sha1msg1, Sha1msg2, Sha1nexte, Sha1rnds4, Sha256msg1, Sha256msg2, Sha256rnds2};
    matches!(mnemonic, Sha1msg1 | Sha1msg2 | Sha1nexte | Sha1rnds4 | Sha256msg1 | Sha256msg2 | Sha256rnds2)
}

fn is_x87_store(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{Fbstp, Fist, Fistp, Fisttp, Fst, Fstp};
    matches!(mnemonic, Fst | Fstp | Fist | Fistp | Fisttp | Fbstp)
}
