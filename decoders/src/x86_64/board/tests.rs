//! Interrupts from a device to the vCPU's pin, ends of runs, and saving.

use super::*;
use crate::x86_64::interrupt::INTR;
use c2w_devices::backend::char::{CharHost, char_channel};
use c2w_engine::mem::device::Request;
use c2w_engine::mem::ram::Ram;

const LAPIC: u64 = 0xfee0_0000;
const EOI: u64 = LAPIC + 0xb0;
const SVR: u64 = LAPIC + 0xf0;
const LVT_LINT0: u64 = LAPIC + 0x350;

struct Rig {
    board: PcBoard,
    vcpu: IrqLines,
    host: CharHost,
    ram: Ram,
    now_ns: u64,
    request: Option<Request>,
}

fn parts() -> (BoardParts, CharHost) {
    let (console, host) = char_channel(256, &Attention::default());
    (BoardParts { console: Box::new(console), wall_clock: Box::new(|| 0), virtio: Vec::new() }, host)
}

impl Rig {
    fn new() -> Self {
        let (parts, host) = parts();
        let vcpu = IrqLines::new(&Attention::default());
        let board = PcBoard::new(parts, &vcpu);
        Self { board, vcpu, host, ram: Ram::new(map::RAM_BASE, 4096), now_ns: 0, request: None }
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut PcBoard, &mut DeviceEnv<'_>) -> R) -> R {
        let mut env = DeviceEnv { ram: &mut self.ram, now_ns: self.now_ns, request: &mut self.request };
        f(&mut self.board, &mut env)
    }

    fn out(&mut self, port: u16, values: &[u8]) {
        for &value in values {
            self.with(|board, env| board.port_write(port, Width::W8, value.into(), env));
        }
    }

    fn input(&mut self, port: u16, width: Width) -> u64 {
        self.with(|board, env| board.port_read(port, width, env))
    }

    fn store(&mut self, gpa: u64, value: u32) {
        self.with(|board, env| board.write(Gpa(gpa), Width::W32, value.into(), env)).unwrap();
    }

    fn load(&mut self, gpa: u64) -> u32 {
        self.with(|board, env| board.read(Gpa(gpa), Width::W32, env)).unwrap() as u32
    }

    fn redirect(&mut self, pin: u32, entry: u64) {
        for (register, half) in [(0x11 + 2 * pin, entry >> 32), (0x10 + 2 * pin, entry)] {
            self.store(map::IOAPIC_BASE, register);
            self.store(map::IOAPIC_BASE + 0x10, half as u32);
        }
    }

    fn service(&mut self) {
        self.with(|board, env| board.service(env));
    }

    fn intr(&self) -> bool {
        self.vcpu.line(INTR).is_high()
    }

    /// Both 8259s with vectors from 0x20 on and nothing masked.
    fn start_8259(&mut self) {
        for (port, base, wiring) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
            self.out(port, &[0x11]);
            self.out(port + 1, &[base, wiring, 1, 0]);
        }
    }
}

#[test]
fn an_edge_of_the_serial_port_goes_through_the_io_apic() {
    let mut rig = Rig::new();
    rig.store(SVR, 0x1ff);
    rig.store(LVT_LINT0, 0x1_0000);
    rig.redirect(map::UART_GSI, 0x31);
    rig.out(map::UART_PORT + 1, &[1]);
    rig.service();
    assert!(!rig.intr());
    rig.host.write(b"a");
    rig.service();
    assert!(rig.intr());
    assert_eq!((rig.board.acknowledge(), rig.intr()), (Some(0x31), false));
    // The line falls and rises while the interrupt is served: a second one follows its end.
    assert_eq!(rig.input(map::UART_PORT, Width::W8), u64::from(b'a'));
    rig.host.write(b"b");
    rig.service();
    assert!(!rig.intr());
    rig.store(EOI, 0);
    assert_eq!((rig.intr(), rig.board.acknowledge()), (true, Some(0x31)));
}

#[test]
fn a_level_interrupts_again_until_it_falls() {
    let mut rig = Rig::new();
    rig.store(SVR, 0x1ff);
    rig.store(LVT_LINT0, 0x1_0000);
    rig.redirect(map::UART_GSI, 0x8031);
    rig.out(map::UART_PORT + 1, &[1]);
    rig.host.write(b"a");
    rig.service();
    for _ in 0..3 {
        assert_eq!((rig.intr(), rig.board.acknowledge(), rig.intr()), (true, Some(0x31), false));
        rig.store(EOI, 0);
    }
    assert_eq!(rig.board.acknowledge(), Some(0x31));
    rig.input(map::UART_PORT, Width::W8);
    rig.store(EOI, 0);
    assert!(!rig.intr());
}

#[test]
fn the_timer_reaches_the_vcpu_through_the_8259_as_firmware_left_it() {
    let mut rig = Rig::new();
    rig.start_8259();
    rig.out(0x43, &[0x34]);
    rig.out(0x40, &[0x9c, 0x2e]);
    let first = rig.board.deadline_ns().unwrap();
    assert!(!rig.intr());
    for tick in 0..3 {
        rig.now_ns = first + tick * 10_000_151;
        rig.service();
        assert_eq!((rig.intr(), rig.board.acknowledge(), rig.intr()), (true, Some(0x20), false), "{tick}");
        rig.out(0x20, &[0x20]);
    }
    rig.store(LVT_LINT0, 0x1_0000);
    rig.now_ns += 20_000_000;
    rig.service();
    assert!(!rig.intr() && rig.board.acknowledge().is_none());
}

#[test]
fn the_local_timer_is_a_deadline_of_the_board() {
    let mut rig = Rig::new();
    rig.store(SVR, 0x1ff);
    rig.store(LAPIC + 0x320, 0x4_00ec);
    rig.with(|board, env| board.lapic_msr_write(0x6e0, 5000, env)).unwrap();
    assert_eq!(rig.board.deadline_ns(), Some(5000));
    rig.now_ns = 5000;
    rig.service();
    rig.with(|board, env| board.set_task_priority(15, env));
    assert!(!rig.intr() && rig.board.task_priority() == 15);
    rig.with(|board, env| board.set_task_priority(3, env));
    assert_eq!((rig.intr(), rig.board.acknowledge()), (true, Some(0xec)));
}

#[test]
fn accesses_that_nothing_answers_read_as_ones() {
    let mut rig = Rig::new();
    assert_eq!(rig.input(0x80, Width::W32), 0xffff_ffff);
    assert_eq!((rig.load(0xd000_0000), rig.load(LAPIC + 0x30)), (u32::MAX, 0x0105_0014));
    rig.store(0xd000_0000, 0);
    // Wide accesses to byte-wide devices are made byte by byte.
    rig.with(|board, env| board.port_write(0x70, Width::W16, 0x5a40, env));
    assert_eq!(rig.input(0x70, Width::W16), 0x5aff);
    rig.with(|board, env| board.lapic_msr_write(0x1b, 0xfed0_0900, env)).unwrap();
    assert_eq!((rig.load(LAPIC + 0x30), rig.load(0xfed0_0030)), (u32::MAX, 0x0105_0014));
}

#[test]
fn software_can_end_the_run() {
    for (port, value, request) in [
        (map::SLEEP_PORT, 0x34, Request::PowerOff),
        (map::RESET_PORT, 6, Request::Reset),
        (0x64, 0xfe, Request::Reset),
        (0x92, 1, Request::Reset),
        (0xf4, 0x10, Request::Finish(0x21)),
    ] {
        let mut rig = Rig::new();
        rig.out(port, &[value]);
        assert_eq!(rig.request, Some(request));
    }
}

#[test]
fn a_restored_board_is_the_same() {
    let mut rig = Rig::new();
    rig.start_8259();
    rig.out(map::UART_PORT + 1, &[1]);
    rig.host.write(b"a");
    rig.service();
    let saved = rig.board.save();
    let (parts, _host) = parts();
    let vcpu = IrqLines::new(&Attention::default());
    let restored = PcBoard::restore(parts, &vcpu, &saved).unwrap();
    assert_eq!(restored.save(), saved);
    assert!(vcpu.line(INTR).is_high());
}
