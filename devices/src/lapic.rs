//! The local APIC of an x86 processor, as an xAPIC page of memory and as x2APIC registers (SDM 3A 11).
//!
//! The board gives it messages of the IO-APIC and asks whether an interrupt is to be taken; the end of a
//! level-triggered interrupt goes back to the IO-APIC through [`Lapic::take_end_of_interrupt`].

mod registers;
#[cfg(test)]
mod tests;
mod timer;
mod vectors;

use c2w_engine::addr::{Gpa, PAGE_BYTES, Width};
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use registers::Register;
use serde::{Deserialize, Serialize};
use timer::Timer;
pub use timer::{BUS_CLOCK_HZ, TimerState};
use vectors::VectorSet;

/// Length of the xAPIC window.
pub const WINDOW_BYTES: u64 = PAGE_BYTES;
/// Where the window is after reset.
pub const DEFAULT_BASE: Gpa = Gpa(0xfee0_0000);

/// IA32_APIC_BASE.
const MSR_BASE: u32 = 0x1b;
/// IA32_TSC_DEADLINE.
const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// The first of the x2APIC's registers.
const MSR_X2APIC: u32 = 0x800;

/// Bits of IA32_APIC_BASE (11.4.3, 11.12.1).
mod base {
    pub const BOOT_PROCESSOR: u64 = 1 << 8;
    pub const X2APIC: u64 = 1 << 10;
    pub const ENABLE: u64 = 1 << 11;
    pub const MODES: u64 = X2APIC | ENABLE;
    /// Page number, 36 bits of physical address and more as processors have them.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// Bits of the spurious-interrupt vector register (11.9).
mod spurious {
    pub const VECTOR: u32 = 0xff;
    pub const ENABLE: u32 = 1 << 8;
    pub const SUPPRESS_BROADCAST: u32 = 1 << 12;
    pub const WRITABLE: u32 = VECTOR | ENABLE | SUPPRESS_BROADCAST;
}

/// Bits of the entries of the local vector table (11.5.1).
mod lvt {
    pub const MODE: u32 = 7 << 8;
    pub const MASKED: u32 = 1 << 16;
    pub const TIMER_MODE: u32 = 3 << 17;
    /// What may be written of each entry, in the order of [`super::Lvt`].
    pub const WRITABLE: [u32; super::LVT_ENTRIES] = [
        0xff | MASKED | TIMER_MODE,
        0xff | MODE | MASKED,
        0xff | MODE | MASKED,
        0xff | MODE | MASKED | 1 << 13 | 1 << 15,
        0xff | MODE | MASKED | 1 << 13 | 1 << 15,
        0xff | MASKED,
    ];
}

/// Entries of the local vector table, in the order of their registers. Of thermal sensor (1) and performance counters (2)
/// there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Lvt {
    Timer = 0,
    Lint0 = 3,
    Lint1 = 4,
    Error = 5,
}

const LVT_ENTRIES: usize = 6;
/// Integrated APIC with EOI-broadcast suppression and [`LVT_ENTRIES`] (11.4.8).
const VERSION: u32 = 0x14 | (LVT_ENTRIES as u32 - 1) << 16 | 1 << 24;

/// Bits of the error status register (11.5.3).
mod error {
    pub const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub const ILLEGAL_REGISTER: u32 = 1 << 7;
}

/// Vectors below belong to exceptions.
const FIRST_VECTOR: u8 = 16;

/// How an interrupt message is to be taken (11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As an interrupt with the message's vector.
    Fixed,
    /// As a non-maskable interrupt.
    Nmi,
    /// As one that an 8259 has the vector of.
    ExtInt,
    /// In a way that this machine has no use for: SMI, INIT, start-up, or a reserved one.
    Other,
}

impl Delivery {
    /// The mode with a number, bits 8 to 10 of the registers that hold one. With one processor lowest priority is fixed.
    pub fn from_number(number: u32) -> Self {
        match number & 7 {
            0 | 1 => Self::Fixed,
            4 => Self::Nmi,
            7 => Self::ExtInt,
            _ => Self::Other,
        }
    }
}

/// An interrupt on its way to local APICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which APICs: an identifier, or a logical destination.
    pub destination: u32,
    /// The destination is logical.
    pub logical: bool,
    /// How it is to be taken.
    pub delivery: Delivery,
    /// Vector.
    pub vector: u8,
    /// It is level-triggered: its source waits for the end of the interrupt.
    pub level: bool,
}

/// State of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LapicState {
    /// IA32_APIC_BASE.
    pub base: u64,
    /// Identifier.
    pub id: u32,
    /// Task priority.
    pub task_priority: u8,
    /// Logical destination of an xAPIC.
    pub logical_destination: u32,
    /// Destination format of an xAPIC, bits 28 to 31.
    pub destination_format: u32,
    /// Spurious-interrupt vector register.
    pub spurious: u32,
    /// Vectors being serviced, bit 0 of the first word for vector 0.
    pub in_service: [u64; 4],
    /// Vectors that were accepted as level-triggered.
    pub level_triggered: [u64; 4],
    /// Vectors that wait.
    pub requested: [u64; 4],
    /// Error status as it reads.
    pub errors: u32,
    /// Errors since it was written last.
    pub new_errors: u32,
    /// Interrupt command register.
    pub command: u64,
    /// Local vector table: timer, thermal, performance, LINT0, LINT1, error.
    pub local_vectors: [u32; LVT_ENTRIES],
    /// Timer.
    pub timer: TimerState,
    /// A non-maskable interrupt was sent and not taken.
    pub nmi: bool,
}

/// The controller of one processor.
#[derive(Debug)]
pub struct Lapic {
    state: LapicState,
    in_service: VectorSet,
    level_triggered: VectorSet,
    requested: VectorSet,
    timer: Timer,
    ended: Option<u8>,
}

impl Lapic {
    /// The controller of the boot processor after reset; its identifier is `id`.
    pub fn new(id: u32) -> Self {
        let state = LapicState {
            base: DEFAULT_BASE.0 | base::ENABLE | base::BOOT_PROCESSOR,
            id,
            task_priority: 0,
            logical_destination: 0,
            destination_format: u32::MAX,
            spurious: spurious::VECTOR,
            in_service: [0; 4],
            level_triggered: [0; 4],
            requested: [0; 4],
            errors: 0,
            new_errors: 0,
            command: 0,
            local_vectors: [lvt::MASKED; LVT_ENTRIES],
            timer: TimerState::default(),
            nmi: false,
        };
        Self::restore(&state)
    }

    /// The saved controller.
    pub fn restore(state: &LapicState) -> Self {
        Self {
            in_service: VectorSet(state.in_service),
            level_triggered: VectorSet(state.level_triggered),
            requested: VectorSet(state.requested),
            timer: Timer::restore(&state.timer),
            state: state.clone(),
            ended: None,
        }
    }

    /// The state.
    pub fn save(&self) -> LapicState {
        LapicState {
            in_service: self.in_service.0,
            level_triggered: self.level_triggered.0,
            requested: self.requested.0,
            timer: self.timer.save(),
            ..self.state.clone()
        }
    }

    /// What firmware leaves behind: the 8259 reaches the processor through LINT0, NMI through LINT1 (MultiProcessor
    /// Specification 3.6.2.2, virtual wire mode).
    pub fn enter_virtual_wire(&mut self) {
        self.state.spurious = spurious::VECTOR | spurious::ENABLE;
        self.state.local_vectors[Lvt::Lint0 as usize] = 7 << 8;
        self.state.local_vectors[Lvt::Lint1 as usize] = 4 << 8;
    }

    /// First byte of the xAPIC window, unless there is none now.
    pub fn window(&self) -> Option<Gpa> {
        (self.state.base & base::MODES == base::ENABLE).then_some(Gpa(self.state.base & base::ADDRESS))
    }

    fn is_on(&self) -> bool {
        self.state.base & base::ENABLE != 0
    }

    fn is_x2apic(&self) -> bool {
        self.state.base & base::X2APIC != 0
    }

    fn is_software_enabled(&self) -> bool {
        self.state.spurious & spurious::ENABLE != 0
    }

    fn entry(&self, entry: Lvt) -> u32 {
        self.state.local_vectors[entry as usize]
    }

    /// Task priority as CR8 shows it: 0 to 15.
    pub fn priority_class(&self) -> u8 {
        self.state.task_priority >> 4
    }

    /// Sets the task priority as CR8 does.
    pub fn set_priority_class(&mut self, class: u8) {
        self.state.task_priority = class << 4;
    }

    /// Processor priority (11.8.3.1).
    fn processor_priority(&self) -> u8 {
        let serviced = self.in_service.highest().unwrap_or(0);
        let task = self.state.task_priority;
        if task >> 4 >= serviced >> 4 { task } else { serviced & 0xf0 }
    }

    /// The vector that would be taken now.
    fn next_vector(&self) -> Option<u8> {
        let vector = self.requested.highest()?;
        (self.is_on() && vector >> 4 > self.processor_priority() >> 4).then_some(vector)
    }

    /// Whether an interrupt waits that the priorities allow.
    pub fn has_interrupt(&self) -> bool {
        self.next_vector().is_some()
    }

    /// The processor takes an interrupt: its vector, which is being serviced from now on.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.next_vector()?;
        self.requested.set(vector, false);
        self.in_service.set(vector, true);
        Some(vector)
    }

    /// Whether the 8259's interrupt reaches the processor.
    pub fn passes_8259(&self) -> bool {
        const EXT_INT: u32 = 7 << 8;
        !self.is_on() || self.entry(Lvt::Lint0) & (lvt::MASKED | lvt::MODE) == EXT_INT
    }

    /// Whether a non-maskable interrupt was sent since [`Lapic::take_nmi`].
    pub fn take_nmi(&mut self) -> bool {
        std::mem::take(&mut self.state.nmi)
    }

    /// The vector of a level-triggered interrupt that ended since the last call: the IO-APICs want to know.
    pub fn take_end_of_interrupt(&mut self) -> Option<u8> {
        self.ended.take()
    }

    /// Takes a message if it is for this controller.
    pub fn receive(&mut self, message: Message) {
        if self.is_on() && self.is_addressed(message.destination, message.logical) {
            self.accept(message);
        }
    }

    fn is_addressed(&self, destination: u32, logical: bool) -> bool {
        match (logical, self.is_x2apic()) {
            // An IO-APIC's broadcast is 0xff in either mode.
            (false, _) => destination == self.state.id || [0xff, u32::MAX].contains(&destination),
            (true, true) => {
                let own = self.x2apic_logical_id();
                destination == u32::MAX || destination >> 16 == own >> 16 && destination & own & 0xffff != 0
            }
            (true, false) => {
                let own = self.state.logical_destination >> 24;
                match self.state.destination_format >> 28 {
                    0xf => destination & own & 0xff != 0,
                    _ => destination >> 4 == own >> 4 && destination & own & 0xf != 0,
                }
            }
        }
    }

    /// Logical x2APIC identifier (11.12.10.2).
    fn x2apic_logical_id(&self) -> u32 {
        (self.state.id >> 4) << 16 | 1 << (self.state.id & 15)
    }

    fn accept(&mut self, message: Message) {
        match message.delivery {
            Delivery::Fixed if message.vector < FIRST_VECTOR => self.report(error::RECEIVE_ILLEGAL_VECTOR),
            Delivery::Fixed if self.is_software_enabled() => {
                self.requested.set(message.vector, true);
                self.level_triggered.set(message.vector, message.level);
            }
            Delivery::Nmi => self.state.nmi = true,
            Delivery::Fixed | Delivery::ExtInt | Delivery::Other => {}
        }
    }

    /// An interrupt of the local vector table.
    fn local_interrupt(&mut self, entry: Lvt) {
        let value = self.entry(entry);
        if value & lvt::MASKED == 0 {
            // The timer's and the error's entry have no mode; theirs is fixed.
            let delivery = Delivery::from_number(value >> 8);
            self.accept(Message {
                destination: 0,
                logical: false,
                delivery,
                vector: value as u8,
                level: false,
            });
        }
    }

    fn report(&mut self, error: u32) {
        let first = self.state.new_errors & error == 0;
        self.state.new_errors |= error;
        // An illegal vector in the error's own entry must not report itself for ever.
        if first {
            self.local_interrupt(Lvt::Error);
        }
    }

    /// Ends the interrupt being serviced (11.8.5).
    fn end_of_interrupt(&mut self) {
        let Some(vector) = self.in_service.highest() else { return };
        self.in_service.set(vector, false);
        if self.level_triggered.contains(vector) && self.state.spurious & spurious::SUPPRESS_BROADCAST == 0 {
            self.ended = Some(vector);
        }
    }

    /// Carries out the interrupt command (11.6.1).
    fn send(&mut self) {
        const SELF: u64 = 1;
        const ALL: u64 = 2;
        const OTHERS: u64 = 3;
        let command = self.state.command;
        let destination = if self.is_x2apic() { command >> 32 } else { command >> 56 } as u32;
        let logical = command & 1 << 11 != 0;
        let delivery = Delivery::from_number((command >> 8) as u32);
        let vector = command as u8;
        if delivery == Delivery::Fixed && vector < FIRST_VECTOR {
            self.report(error::SEND_ILLEGAL_VECTOR);
            return;
        }
        let to_self = match command >> 18 & 3 {
            SELF | ALL => true,
            OTHERS => false,
            _ => self.is_addressed(destination, logical),
        };
        if to_self {
            self.accept(Message { destination, logical, delivery, vector, level: false });
        }
    }

    /// Lets the timer expire.
    pub fn service(&mut self, now_ns: u64) {
        if self.timer.expire(now_ns) {
            self.local_interrupt(Lvt::Timer);
        }
    }

    /// Guest time of the timer's next interrupt.
    pub fn deadline_ns(&self) -> Option<u64> {
        let masked = self.entry(Lvt::Timer) & lvt::MASKED != 0;
        if masked { None } else { self.timer.deadline_ns() }
    }

    /// What is added to guest time, in nanoseconds, to give the time-stamp counter.
    pub fn set_tsc_adjust(&mut self, adjust: u64, now_ns: u64) {
        self.service(now_ns);
        self.timer.set_tsc_adjust(adjust);
        self.service(now_ns);
    }

    /// Whether RDMSR and WRMSR with this number are the controller's.
    pub fn has_msr(index: u32) -> bool {
        matches!(index, MSR_BASE | MSR_TSC_DEADLINE | MSR_X2APIC..=0x8ff)
    }

    /// RDMSR of one of the controller's registers; `None` is a general-protection exception.
    pub fn read_msr(&mut self, index: u32, now_ns: u64) -> Option<u64> {
        self.service(now_ns);
        match index {
            MSR_BASE => Some(self.state.base),
            MSR_TSC_DEADLINE => Some(self.timer.tsc_deadline()),
            _ if self.is_x2apic() => {
                let register = Register::of_msr(index - MSR_X2APIC)?;
                match register {
                    Register::Command => Some(self.state.command),
                    Register::EndOfInterrupt | Register::SelfInterrupt => None,
                    _ => Some(self.read_register(register, now_ns).into()),
                }
            }
            _ => None,
        }
    }

    /// WRMSR to one of the controller's registers; `None` is a general-protection exception.
    pub fn write_msr(&mut self, index: u32, value: u64, now_ns: u64) -> Option<()> {
        self.service(now_ns);
        match index {
            MSR_BASE => self.write_base(value)?,
            MSR_TSC_DEADLINE => self.timer.set_tsc_deadline(value),
            _ if self.is_x2apic() => {
                let register = Register::of_msr(index - MSR_X2APIC)?;
                if value & !register.x2apic_writable()? != 0 {
                    return None;
                }
                if register == Register::Command {
                    self.state.command = value;
                    self.send();
                } else {
                    self.write_register(register, value as u32, now_ns);
                }
            }
            _ => return None,
        }
        self.service(now_ns);
        Some(())
    }

    /// Changes between off, xAPIC and x2APIC, as far as that is allowed (11.12.5).
    fn write_base(&mut self, value: u64) -> Option<()> {
        if value & !(base::ADDRESS | base::MODES | base::BOOT_PROCESSOR) != 0 {
            return None;
        }
        let (old, new) = (self.state.base & base::MODES, value & base::MODES);
        let forbidden =
            matches!((old, new), (_, base::X2APIC) | (0, base::MODES) | (base::MODES, base::ENABLE));
        if forbidden {
            return None;
        }
        if new == 0 && old != 0 {
            let reset = LapicState { base: value, ..Self::new(self.state.id).state };
            let adjust = self.timer.tsc_adjust();
            *self = Self::restore(&reset);
            self.timer.set_tsc_adjust(adjust);
        }
        self.state.base = value;
        Some(())
    }

    fn read_register(&self, register: Register, now_ns: u64) -> u32 {
        let state = &self.state;
        match register {
            Register::Id if self.is_x2apic() => state.id,
            Register::Id => state.id << 24,
            Register::Version => VERSION,
            Register::TaskPriority => state.task_priority.into(),
            // With one processor nobody arbitrates.
            Register::ArbitrationPriority | Register::ProcessorPriority => self.processor_priority().into(),
            Register::LogicalDestination if self.is_x2apic() => self.x2apic_logical_id(),
            Register::LogicalDestination => state.logical_destination,
            Register::DestinationFormat => state.destination_format,
            Register::Spurious => state.spurious,
            Register::InService(word) => self.in_service.word(word),
            Register::LevelTriggered(word) => self.level_triggered.word(word),
            Register::Requested(word) => self.requested.word(word),
            Register::Errors => state.errors,
            Register::Command => state.command as u32,
            Register::CommandHigh => (state.command >> 32) as u32,
            Register::LocalVector(entry) => state.local_vectors[entry],
            Register::InitialCount => self.timer.initial_count(),
            Register::CurrentCount => self.timer.current_count(now_ns),
            Register::Divide => self.timer.divide(),
            Register::EndOfInterrupt | Register::SelfInterrupt => 0,
        }
    }

    fn write_register(&mut self, register: Register, value: u32, now_ns: u64) {
        match register {
            Register::TaskPriority => self.state.task_priority = value as u8,
            Register::EndOfInterrupt => self.end_of_interrupt(),
            Register::Id => self.state.id = value >> 24,
            Register::LogicalDestination => self.state.logical_destination = value & 0xff00_0000,
            Register::DestinationFormat => self.state.destination_format = value | 0x0fff_ffff,
            Register::Spurious => {
                self.state.spurious = value & spurious::WRITABLE;
                if !self.is_software_enabled() {
                    self.state.local_vectors.iter_mut().for_each(|entry| *entry |= lvt::MASKED);
                }
            }
            Register::Errors => self.state.errors = std::mem::take(&mut self.state.new_errors),
            Register::Command => {
                self.state.command =
                    self.state.command & !u64::from(u32::MAX) | u64::from(value & !(1 << 12));
                self.send();
            }
            Register::CommandHigh => {
                self.state.command = self.state.command & u64::from(u32::MAX) | u64::from(value) << 32;
            }
            Register::SelfInterrupt => self.accept(Message {
                destination: self.state.id,
                logical: false,
                delivery: Delivery::Fixed,
                vector: value as u8,
                level: false,
            }),
            Register::LocalVector(entry) => {
                let held = if self.is_software_enabled() { 0 } else { lvt::MASKED };
                let value = value & lvt::WRITABLE[entry] | held;
                self.state.local_vectors[entry] = value;
                if entry == Lvt::Timer as usize {
                    self.timer.set_mode(value & lvt::TIMER_MODE);
                }
            }
            Register::InitialCount => self.timer.start(value, now_ns),
            Register::Divide => self.timer.set_divide(value, now_ns),
            Register::Version
            | Register::ArbitrationPriority
            | Register::ProcessorPriority
            | Register::InService(_)
            | Register::LevelTriggered(_)
            | Register::Requested(_)
            | Register::CurrentCount => {}
        }
    }
}

impl MmioDevice for Lapic {
    fn widths(&self) -> &'static [Width] {
        &[Width::W32]
    }

    fn read(&mut self, offset: u64, _width: Width, env: &mut DeviceEnv<'_>) -> u64 {
        self.service(env.now_ns);
        match Register::of_offset(offset) {
            Some(register) => self.read_register(register, env.now_ns).into(),
            None => {
                self.report(error::ILLEGAL_REGISTER);
                0
            }
        }
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        self.service(env.now_ns);
        match Register::of_offset(offset) {
            Some(register) => self.write_register(register, value as u32, env.now_ns),
            None => self.report(error::ILLEGAL_REGISTER),
        }
        self.service(env.now_ns);
    }
}
