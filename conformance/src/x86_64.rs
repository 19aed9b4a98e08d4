//! x86_64 instructions on a bare vCPU, and on the real processor that the tests run on.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod native;

use c2w_decoders::x86_64::helpers::{self, HELPERS};
use c2w_decoders::x86_64::insn::Insn;
use c2w_decoders::x86_64::{decode, flags, lift, regs};
use c2w_engine::addr::{Gpa, Gva, Page, Width};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::with_words;
use c2w_engine::emit::Emit;
use c2w_engine::guest::{Decoded, Guest, HelperId, HelperInfo, Mode, Trap, TrapCause};
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::mem::device::{Board, DeviceEnv};
use c2w_engine::mem::ram::Ram;
use c2w_engine::mem::tlb::{Access, Translation};
use serde::{Deserialize, Serialize};

/// 64-bit mode with memory as it is, without system state: what instructions need that compute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flat;

/// No devices.
pub struct NoBoard;

impl Board for NoBoard {
    fn read(&mut self, _: Gpa, _: Width, _: &mut DeviceEnv<'_>) -> Option<u64> {
        None
    }
    fn write(&mut self, _: Gpa, _: Width, _: u64, _: &mut DeviceEnv<'_>) -> Option<()> {
        None
    }
    fn service(&mut self, _: &mut DeviceEnv<'_>) {}
    fn deadline_ns(&self) -> Option<u64> {
        None
    }
}

/// Page fault (SDM 3A 6.15): the only exception of a flat memory.
const PAGE_FAULT: TrapCause = TrapCause(14);

impl Guest for Flat {
    type Insn = Insn;
    type Board = NoBoard;
    const CONTEXTS: usize = 1;
    const HELPERS: &'static [HelperInfo] = &HELPERS;

    fn decode(bytes: &[u8], _: Mode) -> Option<Decoded<Insn>> {
        decode::decode(bytes)
    }
    fn lift<E: Emit>(e: &mut E, insn: &Insn) -> Result<(), E::Stop> {
        lift::lift(e, insn)
    }
    fn helper(cpu: &mut Cpu<Self>, id: HelperId, args: [u64; 4]) -> Result<u64, Trap> {
        helpers::call(cpu, id, args)
    }
    fn walk(_: &mut Cpu<Self>, gva: Gva, _: Access, _: usize) -> Result<Translation, Trap> {
        let page = Page::of(Gpa(gva.0));
        Ok(Translation { page, read: true, write: true, execute: true, cacheable: true })
    }
    fn bus_error(gva: Gva, _: Gpa, _: Access) -> Trap {
        Trap::new(PAGE_FAULT, gva.0)
    }
    fn misaligned_atomic(_: Gva, _: Access) -> Option<Trap> {
        None
    }
    fn deliver(_: &mut Cpu<Self>, _: Trap) {}
    fn interrupt(_: &mut Cpu<Self>) -> Option<Trap> {
        None
    }
    fn wakes(_: &Cpu<Self>) -> bool {
        false
    }
    fn devices_can_wake(_: &Cpu<Self>) -> bool {
        false
    }
    fn restored(_: &mut Cpu<Self>) {}
    fn tick(_: &mut Cpu<Self>, _: u64) {}
    fn deadline_ns(_: &Cpu<Self>) -> Option<u64> {
        None
    }
}

/// A vCPU over zeroed memory.
pub fn cpu(base: Gpa, len_bytes: u64) -> Cpu<Flat> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let clock = Box::new(InstructionClock::new(1));
    Cpu::new(Flat, Ram::new(base, len_bytes), NoBoard, lines, attention, clock)
}

/// What instructions compute with: general registers by number, and the arithmetic flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    /// General registers.
    pub gpr: [u64; 16],
    /// The arithmetic flags at their places in EFLAGS.
    pub flags: u64,
}

/// Gives a vCPU these registers.
pub fn set_state(cpu: &mut Cpu<Flat>, state: &State) {
    cpu.slots[..16].copy_from_slice(&state.gpr);
    with_words(cpu, |e| {
        let flags = e.imm(state.flags);
        flags::produce(e, flags::Kind::Flags, Width::W64, flags, flags, flags);
    });
}

/// The registers of a vCPU.
pub fn state(cpu: &mut Cpu<Flat>) -> State {
    let mut gpr = [0; 16];
    for (number, value) in (0..).zip(&mut gpr) {
        *value = cpu.slots[regs::gpr(number).0 as usize];
    }
    let flags = with_words(cpu, |e| flags::all(e).expect("flags are functions of registers"));
    State { gpr, flags }
}
