//! A toy instruction set for tests of the engine: every instruction is 4 bytes, [op, a, b, imm8]; its system state
//! is the least that traps, interrupts, paging and waiting need.
//!
//! Slots 0 to 15 are registers. A trap stores cause, value and pc and continues at `handler`.

use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES, PAGE_SHIFT, Page, Width};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::{Cond, Emit, Slot};
use c2w_engine::guest::{Decoded, Guest, HelperEffects, HelperId, HelperInfo, Mode, Trap, TrapCause};
use c2w_engine::irq::{Attention, IrqLine, IrqLines};
use c2w_engine::machine::Machine;
use c2w_engine::mem::device::{Board, DeviceEnv, Request};
use c2w_engine::mem::ram::Ram;
use c2w_engine::mem::tlb::{Access, Translation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// First address of RAM, of which there are [`RAM_PAGES`].
pub const RAM: u64 = 0x1_0000;
pub const RAM_PAGES: u64 = 16;
/// Device register: what is written lands in RAM at the board's `dma_target`; reads give the number of services.
pub const DMA: u64 = 0x1000;
/// Device register: a write turns the machine off.
pub const POWER_OFF: u64 = 0x1008;
/// Device register: a write raises interrupt line 0.
pub const RAISE: u64 = 0x1010;

pub const UNDEFINED: TrapCause = TrapCause(1);
pub const PAGE_FAULT: TrapCause = TrapCause(2);
pub const BUS_ERROR: TrapCause = TrapCause(3);
pub const MISALIGNED: TrapCause = TrapCause(4);
pub const INTERRUPT: TrapCause = TrapCause(0x80);

/// Operations. `a` and `b` are registers, `n` is the immediate, sign-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// a = b + n
    Addi = 1,
    /// a = load64(b + n)
    Load,
    /// store64(b + n, a)
    Store,
    /// store8(b + n, a)
    Store8,
    /// pc += 4 * n
    Jump,
    /// pc = a
    JumpTo,
    /// if a != b: pc += 4 * n
    BranchNe,
    /// a = load_reserved64(b)
    LoadReserved,
    /// a = store_conditional64(b, a)
    StoreConditional,
    /// Maps virtual page a to page b, or to nothing if b is 0, in address translation that is then on.
    Map,
    /// Waits.
    Wait,
    /// Enables (n = 1) or disables (n = 0) the interrupt.
    Enable,
    /// Continues at the pc before the last trap.
    Return,
    /// Traps.
    Break,
    /// a = load32(b + n)
    Load32,
    /// a = b + n; one more where it is recorded and not run at once: a translator that errs.
    WrongAddi,
    /// store64(b + n, a); to the next word, too, where it is recorded.
    WrongStore,
}

impl Op {
    const ALL: [Op; 17] = [
        Op::Addi,
        Op::Load,
        Op::Store,
        Op::Store8,
        Op::Jump,
        Op::JumpTo,
        Op::BranchNe,
        Op::LoadReserved,
        Op::StoreConditional,
        Op::Map,
        Op::Wait,
        Op::Enable,
        Op::Return,
        Op::Break,
        Op::Load32,
        Op::WrongAddi,
        Op::WrongStore,
    ];
}

/// The bytes of an instruction.
pub const fn insn(op: Op, a: u8, b: u8, n: i8) -> [u8; 4] {
    [op as u8, a, b, n as u8]
}

#[derive(Clone, Copy, Debug)]
pub struct Insn {
    op: Option<Op>,
    a: Slot,
    b: Slot,
    n: i64,
}

/// System state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Toy {
    /// Virtual page to physical page, once translation is on.
    pub map: BTreeMap<u64, u64>,
    pub translates: bool,
    pub enabled: bool,
    pub handler: u64,
    pub cause: u32,
    pub value: u64,
    pub trap_pc: u64,
    pub traps: u64,
    /// Where trap delivery stores the low word of the pc, if not 0.
    pub trap_stack: u64,
    /// Guest time at which the timer interrupts.
    pub timer_ns: Option<u64>,
    pub timer_pending: bool,
}

/// A board with one device.
pub struct ToyBoard {
    pub dma_target: u64,
    pub services: u64,
    line: IrqLine,
}

impl ToyBoard {
    pub fn new(line: IrqLine) -> Self {
        Self { dma_target: 0, services: 0, line }
    }
}

impl Board for ToyBoard {
    fn read(&mut self, gpa: Gpa, _: Width, _: &mut DeviceEnv<'_>) -> Option<u64> {
        (gpa.0 == DMA).then_some(self.services)
    }

    fn write(&mut self, gpa: Gpa, width: Width, value: u64, env: &mut DeviceEnv<'_>) -> Option<()> {
        match gpa.0 {
            DMA => {
                let bytes = &value.to_le_bytes()[..width.bytes() as usize];
                env.ram.write(Gpa(self.dma_target), bytes).expect("tests give a target in RAM");
            }
            RAISE => self.line.raise(),
            POWER_OFF => *env.request = Some(Request::PowerOff),
            _ => return None,
        }
        Some(())
    }

    fn service(&mut self, _: &mut DeviceEnv<'_>) {
        self.services += 1;
    }

    fn deadline_ns(&self) -> Option<u64> {
        None
    }
}

const MAP: HelperId = HelperId(0);
const WAIT: HelperId = HelperId(1);
const ENABLE: HelperId = HelperId(2);
const RETURN: HelperId = HelperId(3);

impl Guest for Toy {
    type Insn = Insn;
    type Board = ToyBoard;
    const CONTEXTS: usize = 1;
    const HELPERS: &'static [HelperInfo] = &[
        HelperInfo { name: "map", effects: HelperEffects::ALL, function: None },
        HelperInfo { name: "wait", effects: HelperEffects::ALL, function: None },
        HelperInfo { name: "enable", effects: HelperEffects::ALL, function: None },
        HelperInfo { name: "return", effects: HelperEffects::ALL, function: None },
    ];

    fn decode(bytes: &[u8], _: Mode) -> Option<Decoded<Insn>> {
        let &[op, a, b, n, ..] = bytes else { return None };
        let op = Op::ALL.into_iter().find(|known| *known as u8 == op);
        let insn = Insn { op, a: Slot(a & 15), b: Slot(b & 15), n: i64::from(n as i8) };
        let goes_on = matches!(
            op,
            Some(
                Op::Addi
                    | Op::Load
                    | Op::Load32
                    | Op::Store
                    | Op::Store8
                    | Op::LoadReserved
                    | Op::StoreConditional
                    | Op::WrongAddi
                    | Op::WrongStore
            )
        );
        Some(Decoded { insn, len_bytes: 4, ends_block: !goes_on })
    }

    fn lift<E: Emit>(e: &mut E, i: &Insn) -> Result<(), E::Stop> {
        let w = Width::W64;
        let zero = e.imm(0);
        let Some(op) = i.op else { return Err(e.trap(UNDEFINED, zero)) };
        let n = e.imm(i.n as u64);
        let (a, b) = (e.get(i.a), e.get(i.b));
        let sum = e.add(w, b, n);
        match op {
            Op::Addi => e.set(i.a, sum),
            Op::Load | Op::Load32 => {
                let value = e.load(if op == Op::Load { w } else { Width::W32 }, sum)?;
                e.set(i.a, value);
            }
            Op::Store => e.store(w, sum, a)?,
            Op::WrongAddi if E::RECORDS => {
                let one = e.imm(1);
                let sum = e.add(w, sum, one);
                e.set(i.a, sum);
            }
            Op::WrongAddi => e.set(i.a, sum),
            Op::WrongStore => {
                e.store(w, sum, a)?;
                if E::RECORDS {
                    let eight = e.imm(8);
                    let next = e.add(w, sum, eight);
                    e.store(w, next, a)?;
                }
            }
            Op::Store8 => e.store(Width::W8, sum, a)?,
            Op::Jump => e.jump_relative(4 * i.n),
            Op::JumpTo => e.jump(a),
            Op::BranchNe => {
                let differ = e.compare(Cond::Ne, w, a, b);
                e.branch_relative(differ, 4 * i.n);
            }
            Op::LoadReserved => {
                let value = e.load_reserved(w, b)?;
                e.set(i.a, value);
            }
            Op::StoreConditional => {
                let failed = e.store_conditional(w, b, a)?;
                e.set(i.a, failed);
            }
            Op::Map => {
                e.helper(MAP, &[a, b])?;
            }
            Op::Wait => {
                e.helper(WAIT, &[])?;
            }
            Op::Enable => {
                e.helper(ENABLE, &[n])?;
            }
            Op::Return => {
                let target = e.helper(RETURN, &[])?;
                e.jump(target);
            }
            Op::Break => return Err(e.trap(UNDEFINED, zero)),
        }
        Ok(())
    }

    fn run_block(
        cpu: &mut Cpu<Self>,
        block_pc: Gva,
        len_bytes: u64,
        insns: &[Self::Insn],
        offsets: &[u16],
    ) -> c2w_engine::eager::BlockEnd {
        c2w_engine::eager::run_block(cpu, block_pc, len_bytes, insns, offsets)
    }

    fn record(
        insns: &[Self::Insn],
        offsets: &[u16],
        len_bytes: u16,
        known: &[(Slot, u64)],
    ) -> c2w_engine::ir::block::Block {
        c2w_engine::record::record::<Self>(insns, offsets, len_bytes, known)
    }

    fn helper(cpu: &mut Cpu<Self>, id: HelperId, args: [u64; 4]) -> Result<u64, Trap> {
        match id {
            MAP => map(cpu, args[0], args[1]),
            WAIT => cpu.wait(),
            ENABLE => {
                cpu.guest.enabled = args[0] == 1;
                cpu.recheck_interrupts();
            }
            _ => return Ok(cpu.guest.trap_pc),
        }
        Ok(0)
    }

    fn walk(cpu: &mut Cpu<Self>, gva: Gva, _: Access, _: usize) -> Result<Translation, Trap> {
        let page = gva.0 >> PAGE_SHIFT;
        let mapped = if cpu.guest.translates { cpu.guest.map.get(&page).copied() } else { Some(page) };
        let page = Page(mapped.ok_or(Trap::new(PAGE_FAULT, gva.0))?);
        Ok(Translation { page, read: true, write: true, execute: true, cacheable: true, global: false })
    }

    fn bus_error(gva: Gva, _: Gpa, _: Access) -> Trap {
        Trap::new(BUS_ERROR, gva.0)
    }

    fn misaligned_atomic(gva: Gva, _: Access) -> Option<Trap> {
        Some(Trap::new(MISALIGNED, gva.0))
    }

    fn deliver(cpu: &mut Cpu<Self>, trap: Trap) {
        let guest = &mut cpu.guest;
        (guest.cause, guest.value, guest.trap_pc) = (trap.cause.0, trap.value, cpu.pc.0);
        guest.traps += 1;
        if trap.cause == INTERRUPT {
            guest.enabled = false;
        }
        let (handler, stack, pc) = (guest.handler, guest.trap_stack, cpu.pc.0);
        if stack != 0 {
            cpu.store_in(Gva(stack), Width::W32, pc, 0).expect("tests give a stack in RAM");
        }
        cpu.pc = Gva(handler);
    }

    fn interrupt(cpu: &mut Cpu<Self>) -> Option<Trap> {
        (cpu.guest.enabled && pending(cpu)).then_some(Trap::new(INTERRUPT, 0))
    }

    fn wakes(cpu: &Cpu<Self>) -> bool {
        pending(cpu)
    }

    fn devices_can_wake(cpu: &Cpu<Self>) -> bool {
        cpu.guest.enabled
    }

    fn restored(cpu: &mut Cpu<Self>) {
        cpu.set_mode(Mode(0), 0, 0);
    }

    fn tick(cpu: &mut Cpu<Self>, now_ns: u64) {
        cpu.guest.timer_pending = cpu.guest.timer_ns.is_some_and(|at| at <= now_ns);
    }

    fn deadline_ns(cpu: &Cpu<Self>) -> Option<u64> {
        cpu.guest.timer_ns
    }
}

fn pending(cpu: &Cpu<Toy>) -> bool {
    cpu.irq.levels() != 0 || cpu.guest.timer_pending
}

/// Maps a page, or unmaps it if `to` is 0, as the guest's own instruction does.
pub fn map(cpu: &mut Cpu<Toy>, page: u64, to: u64) {
    cpu.guest.translates = true;
    match to {
        0 => cpu.guest.map.remove(&page),
        to => cpu.guest.map.insert(page, to),
    };
    cpu.tlb.flush_page(Gva(page << PAGE_SHIFT));
    cpu.translations_changed();
}

/// A machine with code at the start of RAM. Its handler, in the last page, stays where it is.
pub fn machine(code: &[[u8; 4]]) -> Machine<Toy> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let ram = Ram::new(Gpa(RAM), RAM_PAGES * PAGE_BYTES);
    let guest = Toy { handler: HANDLER, ..Toy::default() };
    let clock = Box::new(InstructionClock::new(1));
    let board = ToyBoard::new(lines.line(0));
    let mut cpu = Cpu::new(guest, ram, board, lines, attention, clock);
    cpu.pc = Gva(RAM);
    cpu.ram.write(Gpa(RAM), code.as_flattened()).expect("the code fits RAM");
    cpu.ram.write(Gpa(HANDLER), &insn(Op::Jump, 0, 0, 0)).expect("the handler is in RAM");
    let mut machine = Machine::new(cpu);
    if let Some(runs) = crate::TRANSLATE_AFTER {
        assert!(machine.translate(runs), "this host runs generated code");
    }
    machine
}

/// Where traps lead.
pub const HANDLER: u64 = RAM + (RAM_PAGES - 1) * PAGE_BYTES;

/// Runs until the handler is reached; the trap.
pub fn run_to_trap(machine: &mut Machine<Toy>) -> Trap {
    for _ in 0..1000 {
        machine.run(1);
        if machine.cpu.pc.0 == HANDLER {
            return Trap::new(TrapCause(machine.cpu.guest.cause), machine.cpu.guest.value);
        }
    }
    panic!("no trap, at {}", machine.cpu.pc);
}
