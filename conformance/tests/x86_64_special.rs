//! The instructions whose results are the processor's own: what can be said of them without the test machine's.

use c2w_conformance::x86_64::ours::{Ours, TIERS};
use c2w_conformance::x86_64::state::{Event, State};
use c2w_conformance::x86_64::window::CODE;
use c2w_decoders::x86_64::flags::{ARITHMETIC, CF, FIXED, IF};

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;

/// Runs an instruction in user mode from a state without anything in it, and gives the state behind.
fn run(code: &[u8], set: &[(usize, u64)]) -> (Event, State) {
    let mut state = State { rip: CODE, rflags: FIXED | IF | ARITHMETIC, ..State::default() };
    state.gpr = [0x8877_6655_4433_2211; 16];
    for &(number, value) in set {
        state.gpr[number] = value;
    }
    let mut results = TIERS.map(|tier| {
        let mut ours = Ours::new();
        let at = (CODE - c2w_conformance::x86_64::window::BASE) as usize;
        ours.bytes()[at..at + code.len()].copy_from_slice(code);
        ours.run(&state, false, tier).expect("it is one instruction")
    });
    assert_eq!(results[0], results[1]);
    let last = results[1].clone();
    results[0] = last;
    (results[0].event, results[0].state.clone())
}

#[test]
fn cpuid_promises_x86_64_v2() {
    let (event, state) = run(&[0x0f, 0xa2], &[(RAX, 1), (RCX, 0)]);
    assert_eq!(event, Event::Done);
    // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT.
    for bit in [0, 9, 13, 19, 20, 23] {
        assert!(state.gpr[RCX] >> bit & 1 == 1, "bit {bit} of ECX in {:#x}", state.gpr[RCX]);
    }
    // FPU, CX8, CMOV, MMX, FXSR, SSE, SSE2.
    for bit in [0, 8, 15, 23, 24, 25, 26] {
        assert!(state.gpr[RDX] >> bit & 1 == 1, "bit {bit} of EDX in {:#x}", state.gpr[RDX]);
    }
    // The upper halves are cleared.
    let registers = [RAX, RBX, RCX, RDX];
    assert!(registers.iter().all(|&number| state.gpr[number] >> 32 == 0));
    let (_, state) = run(&[0x0f, 0xa2], &[(RAX, 0x8000_0001), (RCX, 0)]);
    // LAHF in 64-bit code; SYSCALL, NX, long mode.
    assert!(state.gpr[RCX] & 1 == 1);
    assert!([11, 20, 29].iter().all(|bit| state.gpr[RDX] >> bit & 1 == 1));
}

#[test]
fn random_numbers_are_there() {
    // rdrand and rdseed of 16, 32 and 64 bits, to ECX.
    for modrm in [0xf1, 0xf9] {
        let mut drawn = Vec::new();
        for (prefix, kept) in [(&[0x66][..], !0xffff), (&[], 0), (&[0x48], 0)] {
            let (event, state) = run(&[prefix, &[0x0f, 0xc7, modrm]].concat(), &[]);
            assert_eq!(event, Event::Done);
            assert_eq!(state.rflags & ARITHMETIC, CF);
            assert_eq!(state.gpr[RCX] & kept, 0x8877_6655_4433_2211 & kept);
            drawn.push(state.gpr[RCX]);
        }
        assert!(drawn[1] >> 32 == 0 && drawn[2] >> 32 != 0, "{drawn:x?}");
    }
}

#[test]
fn the_time_stamp_counter_is_read() {
    // rdtsc, rdtscp: the upper halves are cleared, TSC_AUX is in ECX.
    let (event, state) = run(&[0x0f, 0x31], &[]);
    assert_eq!((event, state.gpr[RAX] >> 32, state.gpr[RDX] >> 32), (Event::Done, 0, 0));
    let (event, state) = run(&[0x0f, 0x01, 0xf9], &[]);
    assert_eq!((event, state.gpr[RAX] >> 32, state.gpr[RDX] >> 32), (Event::Done, 0, 0));
    assert_eq!(state.gpr[RCX], 0);
}

#[test]
fn xgetbv_reads_xcr0() {
    let (event, state) = run(&[0x0f, 0x01, 0xd0], &[(RCX, 0)]);
    assert_eq!((event, state.gpr[RAX] & 3, state.gpr[RDX]), (Event::Done, 3, 0));
    let (event, _) = run(&[0x0f, 0x01, 0xd0], &[(RCX, 7)]);
    assert!(matches!(event, Event::Exception { vector: 13, error: Some(0), .. }));
}

#[test]
fn performance_counters_are_not_there() {
    let (event, _) = run(&[0x0f, 0x33], &[(RCX, 0)]);
    assert!(matches!(event, Event::Exception { vector: 13, error: Some(0), .. }));
}
