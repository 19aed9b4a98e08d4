//! The built-in SBI: what firmware would do for a kernel in S-mode (RISC-V SBI 2.0), for machines without firmware.
//!
//! ECALL from S-mode comes here instead of M-mode: extension in a7, function in a6, arguments from a0; an error
//! code goes to a0 and a value to a1.

use super::guest::{HartState, Riscv64, resume};
use super::pmp::{Pmp, PmpState};
use super::regs::{self, Privilege};
use super::{board, envcfg, irq, mmu, trap};
use c2w_devices::uart::{self, lsr};
use c2w_engine::addr::{Gpa, Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::mem::device::Request;

/// SBI 2.0.
const SPEC_VERSION: u64 = 2 << 24;
/// Not one of the registered numbers; "c2w".
const IMPLEMENTATION_ID: u64 = 0x0063_3277;
const IMPLEMENTATION_VERSION: u64 = 1;
/// Longest text of one DBCN call that is carried out at once, in bytes; more is left to the next call.
const LONGEST_TEXT: u64 = 4096;

/// Extensions (SBI chapters 4 to 12; the legacy ones are chapter 5).
mod extension {
    pub const LEGACY_SET_TIMER: u64 = 0;
    pub const LEGACY_PUTCHAR: u64 = 1;
    pub const LEGACY_GETCHAR: u64 = 2;
    pub const LEGACY_CLEAR_IPI: u64 = 3;
    pub const LEGACY_SEND_IPI: u64 = 4;
    pub const LEGACY_FENCE_I: u64 = 5;
    pub const LEGACY_SFENCE_VMA: u64 = 6;
    pub const LEGACY_SFENCE_VMA_ASID: u64 = 7;
    pub const LEGACY_SHUTDOWN: u64 = 8;
    pub const BASE: u64 = 0x10;
    pub const TIME: u64 = 0x5449_4d45;
    pub const IPI: u64 = 0x73_5049;
    pub const RFENCE: u64 = 0x5246_4e43;
    pub const HSM: u64 = 0x48_534d;
    pub const SRST: u64 = 0x5352_5354;
    pub const DBCN: u64 = 0x4442_434e;

    /// What BASE's probe reports as present.
    pub const ALL: [u64; 16] = [
        LEGACY_SET_TIMER,
        LEGACY_PUTCHAR,
        LEGACY_GETCHAR,
        LEGACY_CLEAR_IPI,
        LEGACY_SEND_IPI,
        LEGACY_FENCE_I,
        LEGACY_SFENCE_VMA,
        LEGACY_SFENCE_VMA_ASID,
        LEGACY_SHUTDOWN,
        BASE,
        TIME,
        IPI,
        RFENCE,
        HSM,
        SRST,
        DBCN,
    ];
}

/// Error codes (SBI table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
enum SbiError {
    NotSupported = -2,
    InvalidParam = -3,
    InvalidAddress = -5,
    AlreadyAvailable = -6,
}

type SbiResult = Result<u64, SbiError>;

const A0: u8 = 10;

/// The state of a hart that firmware hands to a kernel: S-mode, everything that S-mode can handle delegated to it.
pub fn hart_state(hartid: u64) -> HartState {
    // One NAPOT entry over all addresses: readable, writable, executable.
    let mut everything = PmpState::default();
    everything.cfg[0] = 0x1f;
    everything.addr[0] = u64::MAX;
    HartState {
        privilege: Privilege::Supervisor,
        medeleg: trap::DELEGABLE & !(1 << trap::ECALL_S.0),
        mideleg: irq::SUPERVISOR,
        mcounteren: 0xffff_ffff,
        // Cycle, time and retired instructions for user programs, as OpenSBI leaves it: the vDSO reads the time.
        scounteren: 7,
        menvcfg: envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE | envcfg::ADUE | envcfg::PBMTE | envcfg::STCE,
        pmp: Pmp::restore(&everything).save(),
        builtin_sbi: true,
        ..HartState::reset(hartid)
    }
}

/// Puts the vCPU at the start of a kernel: `a0` the hart, `a1` the device tree.
pub fn enter(cpu: &mut Cpu<Riscv64>, entry: Gva, fdt: Gpa) {
    cpu.pc = entry;
    cpu.slots[regs::x(A0).0 as usize] = cpu.guest.state.hartid;
    cpu.slots[regs::x(A0 + 1).0 as usize] = fdt.0;
    resume(cpu);
}

/// Carries out the call of the ECALL at `cpu.pc` and continues after it.
pub fn call(cpu: &mut Cpu<Riscv64>) {
    let argument = |cpu: &Cpu<Riscv64>, n: u8| cpu.slots[regs::x(A0 + n).0 as usize];
    let args = [0, 1, 2, 3, 4, 5].map(|n| argument(cpu, n));
    let (function, extension) = (argument(cpu, 6), argument(cpu, 7));
    cpu.pc = cpu.pc.offset(4);
    if extension <= extension::LEGACY_SHUTDOWN {
        // Legacy calls have one result and keep a1.
        cpu.slots[regs::x(A0).0 as usize] = legacy(cpu, extension, args[0]);
    } else {
        let result = dispatch(cpu, extension, function, args);
        let (error, value) = match result {
            Ok(value) => (0, value),
            Err(error) => (error as i64 as u64, 0),
        };
        cpu.slots[regs::x(A0).0 as usize] = error;
        cpu.slots[regs::x(A0 + 1).0 as usize] = value;
    }
    cpu.recheck_interrupts();
}

fn dispatch(cpu: &mut Cpu<Riscv64>, extension: u64, function: u64, args: [u64; 6]) -> SbiResult {
    match (extension, function) {
        (extension::BASE, 0) => Ok(SPEC_VERSION),
        (extension::BASE, 1) => Ok(IMPLEMENTATION_ID),
        (extension::BASE, 2) => Ok(IMPLEMENTATION_VERSION),
        (extension::BASE, 3) => Ok(extension::ALL.contains(&args[0]).into()),
        // mvendorid, marchid, mimpid.
        (extension::BASE, 4..=6) => Ok(0),
        (extension::TIME, 0) => set_timer(cpu, args[0]),
        (extension::IPI, 0) => {
            if selects_this_hart(cpu, args[0], args[1])? {
                irq::write(cpu, 1 << irq::SSI, 1 << irq::SSI);
            }
            Ok(0)
        }
        // FENCE.I: stores are seen by fetches at once.
        (extension::RFENCE, 0) => selects_this_hart(cpu, args[0], args[1]).map(|_| 0),
        (extension::RFENCE, 1) => remote_sfence(cpu, args, None),
        (extension::RFENCE, 2) => remote_sfence(cpu, args, Some(args[4])),
        (extension::HSM, 0) if args[0] == cpu.guest.state.hartid => Err(SbiError::AlreadyAvailable),
        (extension::HSM, 0) => Err(SbiError::InvalidParam),
        // The only hart may not leave: there would be nobody to start it again.
        (extension::HSM, 1) => Err(SbiError::NotSupported),
        // Started.
        (extension::HSM, 2) if args[0] == cpu.guest.state.hartid => Ok(0),
        (extension::HSM, 2) => Err(SbiError::InvalidParam),
        (extension::HSM, 3) => suspend(cpu, args[0]),
        (extension::SRST, 0) => system_reset(cpu, args[0] as u32),
        (extension::DBCN, 0) => console_write(cpu, args[0], args[1], args[2]),
        (extension::DBCN, 1) => console_read(cpu, args[0], args[1], args[2]),
        (extension::DBCN, 2) => {
            write_console(cpu, args[0] as u8);
            Ok(0)
        }
        _ => Err(SbiError::NotSupported),
    }
}

fn legacy(cpu: &mut Cpu<Riscv64>, extension: u64, argument: u64) -> u64 {
    match extension {
        extension::LEGACY_SET_TIMER => {
            // It cannot fail.
            let _ = set_timer(cpu, argument);
        }
        extension::LEGACY_PUTCHAR => {
            write_console(cpu, argument as u8);
        }
        extension::LEGACY_GETCHAR => return read_console(cpu).map_or(u64::MAX, u64::from),
        extension::LEGACY_CLEAR_IPI => irq::write(cpu, 0, 1 << irq::SSI),
        // The hart mask is in memory; with one hart, whoever calls means it.
        extension::LEGACY_SEND_IPI => irq::write(cpu, 1 << irq::SSI, 1 << irq::SSI),
        extension::LEGACY_SFENCE_VMA | extension::LEGACY_SFENCE_VMA_ASID => mmu::flush(cpu),
        extension::LEGACY_SHUTDOWN => cpu.request = Some(Request::PowerOff),
        // FENCE.I.
        _ => {}
    }
    0
}

/// Whether hart mask `mask` from hart `base` on (all harts if `base` is -1) has this hart. Others do not exist.
fn selects_this_hart(cpu: &Cpu<Riscv64>, mask: u64, base: u64) -> Result<bool, SbiError> {
    if base == u64::MAX {
        return Ok(true);
    }
    let this = cpu.guest.state.hartid.checked_sub(base).filter(|&bit| bit < 64).map_or(0, |bit| 1 << bit);
    if mask & !this != 0 { Err(SbiError::InvalidParam) } else { Ok(mask != 0) }
}

fn set_timer(cpu: &mut Cpu<Riscv64>, tick: u64) -> SbiResult {
    cpu.guest.state.stimecmp = tick;
    let now_ns = cpu.now_ns();
    irq::tick(cpu, now_ns);
    Ok(0)
}

fn remote_sfence(cpu: &mut Cpu<Riscv64>, args: [u64; 6], asid: Option<u64>) -> SbiResult {
    let [mask, base, start, len_bytes, ..] = args;
    if selects_this_hart(cpu, mask, base)? {
        mmu::fence_range(cpu, Gva(start), len_bytes, asid);
    }
    Ok(0)
}

/// HSM suspend: only the default retentive suspend, which is WFI.
fn suspend(cpu: &mut Cpu<Riscv64>, kind: u64) -> SbiResult {
    if kind as u32 != 0 {
        return Err(if kind as u32 == 0x8000_0000 { SbiError::NotSupported } else { SbiError::InvalidParam });
    }
    cpu.wait();
    Ok(0)
}

fn system_reset(cpu: &mut Cpu<Riscv64>, kind: u32) -> SbiResult {
    cpu.request = Some(match kind {
        0 => Request::PowerOff,
        // Cold and warm reboot.
        1 | 2 => Request::Reset,
        _ => return Err(SbiError::InvalidParam),
    });
    Ok(0)
}

fn console_write(cpu: &mut Cpu<Riscv64>, len_bytes: u64, low: u64, high: u64) -> SbiResult {
    let text = text_at(cpu, len_bytes, low, high)?;
    let mut done = 0;
    for i in 0..text.1 {
        let mut byte = [0];
        cpu.ram.read(text.0.offset(i), &mut byte).map_err(|_| SbiError::InvalidAddress)?;
        if !write_console(cpu, byte[0]) {
            break;
        }
        done += 1;
    }
    Ok(done)
}

fn console_read(cpu: &mut Cpu<Riscv64>, len_bytes: u64, low: u64, high: u64) -> SbiResult {
    let text = text_at(cpu, len_bytes, low, high)?;
    let mut done = 0;
    while done < text.1 {
        let Some(byte) = read_console(cpu) else { break };
        cpu.ram.write(text.0.offset(done), &[byte]).map_err(|_| SbiError::InvalidAddress)?;
        done += 1;
    }
    Ok(done)
}

/// The physical memory of a DBCN call: start and length, all of it in RAM.
fn text_at(cpu: &Cpu<Riscv64>, len_bytes: u64, low: u64, high: u64) -> Result<(Gpa, u64), SbiError> {
    let len_bytes = len_bytes.min(LONGEST_TEXT);
    let outside = high != 0 || len_bytes > 0 && cpu.ram.offset(Gpa(low), len_bytes).is_err();
    if outside { Err(SbiError::InvalidParam) } else { Ok((Gpa(low), len_bytes)) }
}

fn uart_register(offset: u64) -> Gpa {
    board::Window::Uart.place().base.offset(offset)
}

/// Sends a byte through the serial port, as firmware does; false if the port has no room.
fn write_console(cpu: &mut Cpu<Riscv64>, byte: u8) -> bool {
    let status = cpu.physical_read(uart_register(uart::LINE_STATUS), Width::W8).unwrap_or(0);
    let room = status as u8 & lsr::HOLDING_EMPTY != 0;
    if room {
        // The port always answers a byte.
        let _ = cpu.physical_write(uart_register(uart::DATA), Width::W8, byte.into());
    }
    room
}

/// Takes a byte from the serial port, if one waits.
fn read_console(cpu: &mut Cpu<Riscv64>) -> Option<u8> {
    let status = cpu.physical_read(uart_register(uart::LINE_STATUS), Width::W8)?;
    if status as u8 & lsr::READY == 0 {
        return None;
    }
    cpu.physical_read(uart_register(uart::DATA), Width::W8).map(|byte| byte as u8)
}

#[cfg(test)]
mod tests;
