//! Machines from files: what is refused, where things end up, and small programs that run to their end.

use super::*;
use crate::board::BoardParts;
use crate::riscv64::asm::assemble;
use crate::riscv64::regs::Privilege;
use c2w_devices::backend::char::{CharHost, char_channel};
use c2w_engine::clock::InstructionClock;
use c2w_engine::irq::Attention;
use c2w_engine::machine::Exit;
use c2w_engine::mem::device::Request;

const MIB: u64 = 1 << 20;

fn config(memory_bytes: u64) -> (MachineConfig, CharHost) {
    let attention = Attention::default();
    let (console, host) = char_channel(256, &attention);
    let parts = BoardParts { console: Box::new(console), wall_clock: Box::new(|| 0), virtio: Vec::new() };
    let clock = Box::new(InstructionClock::new(100));
    (MachineConfig { memory_bytes, backing: None, parts, clock, attention, rng_seed: vec![1; 32] }, host)
}

fn build(files: &BootFiles, memory_bytes: u64) -> Result<Machine<Riscv64>, BootError> {
    machine(files, config(memory_bytes).0)
}

/// A Linux `Image` of `image_bytes` with the given code behind its header.
fn image(image_bytes: u64) -> Vec<u8> {
    let mut image = vec![0; 64];
    image[8..16].copy_from_slice(&0x20_0000u64.to_le_bytes());
    image[16..24].copy_from_slice(&image_bytes.to_le_bytes());
    image[56..60].copy_from_slice(b"RSC\x05");
    image
}

/// An ELF program at the start of RAM whose symbol `tohost` is 4096 bytes further on.
fn test_program(text: &str) -> Vec<u8> {
    let code = assemble(text).unwrap();
    let names = b"\0tohost\0";
    let mut symbols = vec![0; 24];
    symbols.extend([1, 0, 0, 0, 0x10, 0, 0xf1, 0xff]);
    symbols.extend((RAM_BASE.0 + 0x1000).to_le_bytes());
    symbols.extend(8u64.to_le_bytes());
    let code_at = 64 + 56;
    let names_at = code_at + code.len() as u64;
    let symbols_at = names_at + names.len() as u64;
    let sections_at = symbols_at + symbols.len() as u64;

    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2, 0, 243, 0, 1, 0, 0, 0]);
    for word in [RAM_BASE.0, 64, sections_at] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0; 4]);
    for half in [64u16, 56, 1, 64, 3, 1] {
        file.extend(half.to_le_bytes());
    }
    file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    for word in [code_at, RAM_BASE.0, RAM_BASE.0, code.len() as u64, 0x2000, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(&code);
    file.extend(names);
    file.extend(&symbols);
    // Name, type, flags, address, offset, size, link, info, alignment, entry size.
    let section = |kind: u32, offset: u64, size: usize, link: u32, info: u32, entry: u64| {
        let mut header = Vec::new();
        header.extend(0u32.to_le_bytes());
        header.extend(kind.to_le_bytes());
        for word in [0, 0, offset, size as u64] {
            header.extend(word.to_le_bytes());
        }
        header.extend(link.to_le_bytes());
        header.extend(info.to_le_bytes());
        for word in [1, entry] {
            header.extend(word.to_le_bytes());
        }
        header
    };
    const STRTAB: u32 = 3;
    const SYMTAB: u32 = 2;
    file.extend(section(0, 0, 0, 0, 0, 0));
    file.extend(section(STRTAB, names_at, names.len(), 0, 0, 0));
    file.extend(section(SYMTAB, symbols_at, symbols.len(), 1, 1, 24));
    file
}

/// Runs until something is requested.
fn run(machine: &mut Machine<Riscv64>) -> Option<Request> {
    for _ in 0..100 {
        match machine.run(1000) {
            Exit::Request(request) => return Some(request),
            Exit::Waiting { deadline_ns: Some(deadline_ns) } => {
                let retired = machine.cpu.retired;
                machine.cpu.clock.skip_to(deadline_ns, retired);
            }
            Exit::Waiting { deadline_ns: None } => return None,
            Exit::Budget => {}
            Exit::Diverged => panic!("nobody asked for a check of translated code"),
        }
    }
    None
}

#[test]
fn what_cannot_boot_is_said() {
    let files = |kernel: Option<Vec<u8>>, firmware| BootFiles { kernel, firmware, ..BootFiles::default() };
    let linux = || Some(image(MIB));
    let large = BootFiles { kernel: linux(), initrd: Some(vec![0; 6 << 20]), ..BootFiles::default() };
    let zero = BootFiles { kernel: linux(), cmdline: "a\0b".into(), ..BootFiles::default() };
    for (files, memory_bytes, says) in [
        (files(None, Firmware::BuiltIn), 64 * MIB, "there is no kernel to boot"),
        (files(linux(), Firmware::None), 64 * MIB, "a Linux Image needs an SBI"),
        (files(linux(), Firmware::BuiltIn), 4095, "memory must be 1 to "),
        (files(linux(), Firmware::BuiltIn), 8 * MIB + 1, "memory must be 1 to "),
        (files(linux(), Firmware::BuiltIn), 3 * MIB, "the device tree does not fit in 3 MiB of memory"),
        (files(linux(), Firmware::BuiltIn), 2 * MIB, "the kernel does not fit in 2 MiB of memory"),
        (
            files(linux(), Firmware::BuiltIn),
            MAX_MEMORY_BYTES,
            "this host cannot provide 1048576 MiB of memory",
        ),
        (files(Some(image(u64::MAX)), Firmware::BuiltIn), 64 * MIB, "the kernel does not fit in 64 MiB"),
        (large, 8 * MIB, "the initial RAM disk does not fit in 8 MiB of memory"),
        (zero, 64 * MIB, "the kernel command line contains a zero byte"),
        (
            files(Some(vec![0x1f, 0x8b]), Firmware::BuiltIn),
            64 * MIB,
            "cannot boot the kernel: it is compressed",
        ),
        (files(linux(), Firmware::File(vec![0; 3 << 20])), 64 * MIB, "the kernel does not fit in 64 MiB"),
        (files(linux(), Firmware::File(vec![])), 64 * MIB, "cannot start the firmware: it is empty"),
    ] {
        let error = build(&files, memory_bytes).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with(says), "{error:?} instead of {says:?}");
    }
}

#[test]
fn a_kernel_starts_in_supervisor_mode_with_its_files_in_memory() {
    let files = BootFiles {
        kernel: Some(image(MIB)),
        initrd: Some(b"the initial RAM disk".to_vec()),
        cmdline: "quiet".into(),
        ..BootFiles::default()
    };
    let machine = build(&files, 16 * MIB).unwrap();
    let cpu = &machine.cpu;
    assert_eq!((cpu.pc, cpu.guest.state.privilege), (Gva(0x8020_0000), Privilege::Supervisor));
    assert_eq!(cpu.slots[10], 0);
    let fdt = Gpa(cpu.slots[11]);
    assert_eq!(cpu.ram.slice(fdt, 4), Ok([0xd0, 0x0d, 0xfe, 0xed].as_slice()));
    assert_eq!(cpu.ram.slice(Gpa(0x80ff_f000), 20), Ok(b"the initial RAM disk".as_slice()));
    assert_eq!(cpu.ram.slice(Gpa(0x8020_0000 + 56), 4), Ok(b"RSC\x05".as_slice()));
    assert!(fdt.0 < 0x80ff_f000 && fdt.0 >= 0x8030_0000);
    assert_eq!(cpu.ram.dirty_pages().count(), 0);
}

#[test]
fn firmware_starts_in_machine_mode_and_is_told_about_the_kernel() {
    let files = BootFiles {
        firmware: Firmware::File(vec![0x13, 0, 0, 0]),
        kernel: Some(image(MIB)),
        ..BootFiles::default()
    };
    let machine = build(&files, 16 * MIB).unwrap();
    let cpu = &machine.cpu;
    assert_eq!((cpu.pc, cpu.guest.state.privilege), (Gva(0x8000_0000), Privilege::Machine));
    let info = Gpa(cpu.slots[12]);
    let words = [0, 1, 2, 3].map(|i| cpu.ram.read_u64(info.offset(8 * i)).unwrap());
    assert_eq!(words, [0x4942_534f, 2, 0x8020_0000, 1]);
}

#[test]
fn a_test_program_ends_with_its_verdict() {
    // The program writes its verdict to `tohost`, one page after its start, and waits for the end.
    for (verdict, request) in [(1, Request::Finish(0)), (15, Request::Finish(7))] {
        let text = format!(
            "auipc t0, 1
            addi t1, zero, {verdict}
            loop: sd t1, 0(t0)
            jal zero, loop"
        );
        let files =
            BootFiles { firmware: Firmware::None, kernel: Some(test_program(&text)), ..BootFiles::default() };
        let mut machine = build(&files, 16 * MIB).unwrap();
        assert_eq!(machine.cpu.guest.state.privilege, Privilege::Machine);
        assert_eq!(run(&mut machine), Some(request));
    }
}

#[test]
fn a_payload_talks_to_the_built_in_sbi() {
    // DBCN write byte, then legacy putchar, BASE probe of an absent extension, then SRST shutdown.
    let text = "
        lui a7, 0x44424
        addi a7, a7, 0x34e
        addi a6, zero, 2
        addi a0, zero, 72
        ecall
        addi a7, zero, 1
        addi a0, zero, 105
        ecall
        addi a7, zero, 16
        addi a6, zero, 3
        lui a0, 0x12345
        ecall
        bne a0, zero, stop
        bne a1, zero, stop
        lui a7, 0x53525
        addi a7, a7, 0x354
        addi a6, zero, 0
        addi a0, zero, 0
        addi a1, zero, 0
        ecall
        stop: wfi
        jal zero, stop
    ";
    let files = BootFiles { kernel: Some(test_program(text)), ..BootFiles::default() };
    let (config, host) = config(16 * MIB);
    let mut machine = machine(&files, config).unwrap();
    assert_eq!(run(&mut machine), Some(Request::PowerOff));
    let mut text = [0; 8];
    assert_eq!((host.read(&mut text), &text[..2]), (2, b"Hi".as_slice()));
}
