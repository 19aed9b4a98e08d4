//! Machines from files: what is refused, and where things end up.

use super::bzimage::BzImageError;
use super::elf::Segment;
use super::multiboot::{MultibootError, Version};
use super::*;
use crate::board::BoardParts;
use crate::x86_64::segment::SegmentRegister;
use c2w_devices::backend::char::NullChar;
use c2w_engine::addr::Gva;
use c2w_engine::clock::InstructionClock;
use c2w_engine::irq::Attention;
use c2w_engine::machine::Exit;
use c2w_engine::mem::device::Request;
use object::elf::{EM_386, EM_RISCV, EM_X86_64, ET_EXEC, ET_REL};

const MIB: u64 = 1 << 20;

fn build(files: &BootFiles, memory_bytes: u64) -> Result<Machine<X86_64>, BootError> {
    let parts = BoardParts { console: Box::new(NullChar), wall_clock: Box::new(|| 0), virtio: Vec::new() };
    let config = MachineConfig {
        memory_bytes,
        backing: None,
        parts,
        clock: Box::new(InstructionClock::new(10)),
        attention: Attention::default(),
        rng_seed: vec![7; 64],
    };
    machine(files, config)
}

#[test]
fn machines_with_other_seeds_draw_other_numbers() {
    let draw = |seed: u8| {
        let files = with_kernel(bzimage());
        let parts =
            BoardParts { console: Box::new(NullChar), wall_clock: Box::new(|| 0), virtio: Vec::new() };
        let config = MachineConfig {
            memory_bytes: 64 * MIB,
            backing: None,
            parts,
            clock: Box::new(InstructionClock::new(10)),
            attention: Attention::default(),
            rng_seed: vec![seed; 64],
        };
        machine(&files, config).expect("the machine can be built").cpu.guest.random.draw()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

fn with_kernel(kernel: Vec<u8>) -> BootFiles {
    BootFiles { kernel, initrd: Some(b"initrd".to_vec()), cmdline: "quiet".into() }
}

/// A bzImage that wants 8 MiB at 16 MiB.
fn bzimage() -> Vec<u8> {
    let mut file = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &4u32.to_le_bytes());
    put(0x1fe, &[0x55, 0xaa, 0xeb, 0x66]);
    put(0x202, b"HdrS");
    put(0x206, &0x20fu16.to_le_bytes());
    put(0x211, &[1]);
    put(0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(0x230, &0x20_0000u32.to_le_bytes());
    put(0x234, &[1]);
    put(0x236, &3u16.to_le_bytes());
    put(0x238, &2047u32.to_le_bytes());
    put(0x258, &(16 * MIB).to_le_bytes());
    put(0x260, &(8 * MIB as u32).to_le_bytes());
    file.extend(b"the protected-mode part".iter().chain(&[0; 41]));
    file
}

/// mov al, 0x10; out 0xf4, al: ends the run with status 0x21.
const END: [u8; 4] = [0xb0, 0x10, 0xe6, 0xf4];

/// An ELF file with 16 bytes of code at 1 MiB, mapped 1 GiB further up, in 32; and a note if there is a PVH entry.
fn elf(is_64: bool, machine: u16, kind: u16, paddr: u64, pvh_entry: Option<u32>) -> Vec<u8> {
    let word =
        |value: u64| if is_64 { value.to_le_bytes().to_vec() } else { (value as u32).to_le_bytes().to_vec() };
    let (header_bytes, program_bytes) = if is_64 { (64u16, 56u16) } else { (52, 32) };
    let vaddr = paddr.wrapping_add(1 << 30);
    let code_at = u64::from(header_bytes) + 2 * u64::from(program_bytes);
    let note_at = code_at + 16;
    let note = match pvh_entry {
        Some(entry) => [
            &4u32.to_le_bytes()[..],
            &4u32.to_le_bytes(),
            &18u32.to_le_bytes(),
            b"Xen\0",
            &entry.to_le_bytes(),
        ]
        .concat(),
        None => Vec::new(),
    };
    let mut file = b"\x7fELF\0\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file[4] = if is_64 { 2 } else { 1 };
    file.extend(kind.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for value in [vaddr + 4, u64::from(header_bytes), 0] {
        file.extend(word(value));
    }
    file.extend(0u32.to_le_bytes());
    for half in [header_bytes, program_bytes, 2, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut program = |kind: u32, offset: u64, addresses: [u64; 2], sizes: [u64; 2]| {
        file.extend(kind.to_le_bytes());
        if is_64 {
            file.extend(5u32.to_le_bytes());
        }
        [offset, addresses[0], addresses[1], sizes[0], sizes[1]]
            .iter()
            .for_each(|&value| file.extend(word(value)));
        if !is_64 {
            file.extend(5u32.to_le_bytes());
        }
        file.extend(word(4));
    };
    program(1, code_at, [vaddr, paddr], [16, 32]);
    program(4, note_at, [0, 0], [note.len() as u64, 0]);
    file.extend([0x90; 12]);
    file.extend(END);
    file.extend(note);
    file
}

/// A flat Multiboot 1 kernel of 64 bytes at 1 MiB with 32 bytes of zeroes behind.
fn multiboot_1(flags: u32) -> Vec<u8> {
    let magic = 0x1bad_b002u32;
    let checksum = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    let mut file = vec![0x90; 16];
    for word in [magic, flags, checksum, 0x10_0010, 0x10_0000, 0x10_0040, 0x10_0060, 0x10_0030] {
        file.extend(word.to_le_bytes());
    }
    file.resize(60, 0x90);
    file.extend(END);
    file
}

/// A Multiboot 2 header with tags, each padded to 8 bytes.
fn multiboot_2(architecture: u32, tags: &[&[u32]]) -> Vec<u8> {
    let mut words = vec![0xe852_50d6, architecture, 0, 0];
    for tag in tags {
        words.extend_from_slice(tag);
        words.resize(words.len().next_multiple_of(2), 0);
    }
    words[2] = words.len() as u32 * 4;
    words[3] = 0u32.wrapping_sub(words[0]).wrapping_sub(words[1]).wrapping_sub(words[2]);
    words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}

fn with_header(mut file: Vec<u8>, header: &[u8]) -> Vec<u8> {
    file.resize(file.len().next_multiple_of(8), 0);
    file.extend(header);
    file
}

fn slot(machine: &Machine<X86_64>, slot: c2w_engine::emit::Slot) -> u64 {
    machine.cpu.slots[usize::from(slot.0)]
}

fn text(machine: &Machine<X86_64>, at: u64, expected: &str) {
    let bytes = machine.cpu.ram.slice(Gpa(at), expected.len() as u64).unwrap();
    assert_eq!(std::str::from_utf8(bytes), Ok(expected));
}

#[test]
fn what_cannot_boot_is_said() {
    let mut old = bzimage();
    old[0x236] = 0;
    let mut low = bzimage();
    low[0x211] = 0;
    let mut flag = bzimage();
    flag[0x1fe] = 0;
    let mut odd = bzimage();
    odd[0x230] = 3;
    let mut far = bzimage();
    far[0x258..0x260].fill(0xff);
    let mut fixed = bzimage();
    fixed[0x234] = 0;
    let cut = bzimage()[..0x410].to_vec();
    let x86 = |is_64, pvh| elf(is_64, if is_64 { EM_X86_64 } else { EM_386 }, ET_EXEC, MIB, pvh);
    for (kernel, memory_mib, says) in [
        (vec![], 64, "cannot boot the kernel: it is empty"),
        (
            vec![0; 512],
            64,
            "cannot boot the kernel: it is neither a bzImage, an ELF file nor a Multiboot kernel",
        ),
        (vec![0x1f, 0x8b, 8], 64, "cannot boot the kernel: it is compressed with gzip: unpack it first"),
        (b"\x7fELF".to_vec(), 64, "cannot boot the kernel: damaged or unsupported ELF file: "),
        (
            elf(true, EM_RISCV, ET_EXEC, MIB, None),
            64,
            "cannot boot the kernel: it is for riscv64, this machine is x86_64",
        ),
        (
            elf(true, EM_X86_64, ET_REL, MIB, None),
            64,
            "cannot boot the kernel: it is not an executable ELF file",
        ),
        (x86(false, None), 64, "cannot boot the kernel: it is a 32-bit ELF file without PVH note"),
        (
            elf(true, EM_X86_64, ET_EXEC, 64 * MIB - 16, None),
            64,
            "the kernel wants to be at 0x3fffff0..0x4000010, but memory is at 0x0..0x4000000",
        ),
        (
            elf(true, EM_X86_64, ET_EXEC, 0xf_ffff, None),
            64,
            "the kernel wants to be at 0xfffff..0x10001f, but 0x9fc00..0x100000 is in use",
        ),
        (
            elf(true, EM_X86_64, ET_EXEC, u64::MAX - 3, None),
            64,
            "cannot boot the kernel: its segment at 0xfffffffffffffffc wraps",
        ),
        (
            old,
            64,
            "cannot boot the kernel: the bzImage has no 64-bit entry point: it is a 32-bit kernel or older than Linux 3.8",
        ),
        (low, 64, "cannot boot the kernel: it is a zImage"),
        (flag, 64, "cannot boot the kernel: the bzImage is damaged: it has no boot flag"),
        (odd, 64, "cannot boot the kernel: the bzImage is damaged: its alignment is impossible"),
        (far, 64, "cannot boot the kernel: the bzImage is damaged: its address is impossible"),
        (cut, 64, "cannot boot the kernel: the bzImage is cut off: 1040 of 1088 bytes"),
        (fixed, 20, "the kernel wants to be at 0x1000000..0x1800000, but memory is at 0x0..0x1400000"),
        (bzimage(), 8, "the kernel does not fit in 8 MiB of memory"),
        (bzimage(), 1, "memory must be 2 to "),
        (bzimage(), (MAX_MEMORY_BYTES >> 20) + 1, "memory must be 2 to "),
        (multiboot_1(0x1_0008), 64, "cannot boot the kernel: its Multiboot header requires feature 3"),
        (
            multiboot_2(4, &[&[0, 8]]),
            64,
            "cannot boot the kernel: its Multiboot 2 header is for architecture 4",
        ),
    ] {
        let error = build(&with_kernel(kernel), memory_mib * MIB).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.starts_with(says), "{error:?} instead of {says:?}");
    }
    let large = BootFiles { initrd: Some(vec![0; 6 << 20]), ..with_kernel(x86(true, None)) };
    assert_eq!(
        build(&large, 6 * MIB).err(),
        Some(BootError::DoesNotFit { what: "the initial RAM disk", memory_bytes: 6 * MIB })
    );
    let zero = BootFiles { cmdline: "a\0b".into(), ..with_kernel(bzimage()) };
    assert_eq!(build(&zero, 64 * MIB).err(), Some(BootError::CommandLine));
    let long = BootFiles { cmdline: "a".repeat(2048), ..with_kernel(bzimage()) };
    assert_eq!(
        build(&long, 64 * MIB).err(),
        Some(BootError::LongCommandLine { found_bytes: 2048, most_bytes: 2047 })
    );
}

#[test]
fn a_bzimage_starts_in_64_bit_mode_with_its_zero_page() {
    for (memory_bytes, at) in [(64 * MIB, 16 * MIB), (20 * MIB, 2 * MIB)] {
        let machine = build(&with_kernel(bzimage()), memory_bytes).unwrap();
        let cpu = &machine.cpu;
        assert_eq!(cpu.pc, Gva(at + 0x200));
        assert!(cpu.guest.is_long_mode() && cpu.guest.segment(SegmentRegister::Cs).attributes.is_long());
        text(&machine, at, "the protected-mode part");
        let page = slot(&machine, regs::RSI);
        let field = |at: u64| cpu.ram.read_u32(Gpa(page + at)).unwrap();
        text(&machine, page + 0x202, "HdrS");
        text(&machine, field(0x228).into(), "quiet\0");
        text(&machine, field(0x218).into(), "initrd");
        assert_eq!((field(0x21c), field(0x210), u64::from(field(0x218))), (6, 0x1ff, memory_bytes - 4096));
        assert_eq!((field(0x70), field(0x1e8) & 0xff), (ACPI_BASE as u32, 3));
        text(&machine, ACPI_BASE, "RSD PTR ");
        let e820 = [0, 1, 2].map(|i| {
            let word = |at| cpu.ram.read_u64(Gpa(page + 0x2d0 + 20 * i + at)).unwrap();
            (word(0), word(8), word(16) as u32)
        });
        assert_eq!(e820, [(0, 0x9_fc00, 1), (0x9_fc00, 0x6_0400, 2), (MIB, memory_bytes - MIB, 1)]);
        let seed = u64::from(field(0x250));
        assert_eq!(cpu.ram.read_u64(Gpa(seed + 8)), Ok(9 | 32 << 32));
        // 3 GiB and a bit, through PML4, PDPT and page directory.
        let entry = |table: u64, index: u64| cpu.ram.read_u64(Gpa((table & !0xfff) + 8 * index)).unwrap();
        let directory = entry(entry(cpu.guest.cr3, 0), 3);
        assert_eq!(entry(directory, 1), 0xc020_0083);
        assert_eq!(cpu.ram.dirty_pages().count(), 0);
        let table = cpu.guest.gdtr;
        assert_eq!((table.limit, cpu.ram.read_u64(Gpa(table.base + 16))), (31, Ok(0x00af_9b00_0000_ffff)));
    }
}

#[test]
fn an_elf_kernel_starts_where_its_note_says() {
    for (is_64, machine) in [(true, EM_X86_64), (false, EM_386)] {
        let file = elf(is_64, machine, ET_EXEC, MIB, Some(0x10_0008));
        let machine = build(&with_kernel(file), 64 * MIB).unwrap();
        let cpu = &machine.cpu;
        assert_eq!((cpu.pc, cpu.guest.cr0, cpu.guest.efer), (Gva(0x10_0008), 0x11, 0));
        assert!(cpu.guest.segment(SegmentRegister::Cs).attributes.is_big());
        let info = slot(&machine, regs::RBX);
        let field = |at: u64| cpu.ram.read_u64(Gpa(info + at)).unwrap();
        assert_eq!([field(0), field(8), field(32)], [0x1_336e_c578, 1 << 32, ACPI_BASE]);
        text(&machine, field(24), "quiet\0");
        let module = |at: u64| cpu.ram.read_u64(Gpa(field(16) + at)).unwrap();
        text(&machine, module(0), "initrd");
        assert_eq!((module(0), module(8), field(48)), (64 * MIB - 4096, 6, 3));
        let map = |at: u64| cpu.ram.read_u64(Gpa(field(40) + at)).unwrap();
        assert_eq!([map(48), map(56), map(64)], [MIB, 63 * MIB, 1]);
    }
    let plain = build(&with_kernel(elf(true, EM_X86_64, ET_EXEC, MIB, None)), 64 * MIB).unwrap();
    assert_eq!(plain.cpu.pc, Gva(0x10_0004));
    let page = slot(&plain, regs::RSI);
    text(&plain, page + 0x202, "HdrS");
    assert!(plain.cpu.guest.is_long_mode());
}

#[test]
fn multiboot_kernels_get_their_information() {
    let flat = build(&with_kernel(multiboot_1(0x1_0003)), 64 * MIB).unwrap();
    assert_eq!((flat.cpu.pc, slot(&flat, regs::RAX)), (Gva(0x10_0030), 0x2bad_b002));
    let at = slot(&flat, regs::RBX);
    let field = |at: u64| u64::from(flat.cpu.ram.read_u32(Gpa(at)).unwrap());
    assert_eq!([field(at), field(at + 4), field(at + 8), field(at + 20)], [0x24d, 639, 63 << 10, 1]);
    text(&flat, field(at + 16), "quiet\0");
    text(&flat, field(field(at + 24)), "initrd");
    assert_eq!(field(field(at + 24) + 4) - field(field(at + 24)), 6);
    assert_eq!((field(at + 44), field(field(at + 48) + 52)), (3 * 24, MIB));

    let file = with_header(elf(false, EM_386, ET_EXEC, MIB, None), &multiboot_1(3)[16..28]);
    assert_eq!(build(&with_kernel(file), 64 * MIB).unwrap().cpu.pc, Gva(0x10_0004));

    let header = multiboot_2(0, &[&[1, 12, 6], &[3, 12, 0x10_000c], &[0x1_0009, 12, 0], &[0, 8]]);
    for is_64 in [true, false] {
        let machine = if is_64 { EM_X86_64 } else { EM_386 };
        let file = with_header(elf(is_64, machine, ET_EXEC, MIB, None), &header);
        let machine = build(&with_kernel(file), 64 * MIB).unwrap();
        assert_eq!((machine.cpu.pc, slot(&machine, regs::RAX)), (Gva(0x10_000c), 0x36d7_6289));
        let at = slot(&machine, regs::RBX);
        let ram = &machine.cpu.ram;
        let field = |at: u64| ram.read_u32(Gpa(at)).unwrap();
        let (mut tag, mut kinds) = (at + 8, Vec::new());
        while field(tag) != 0 {
            kinds.push(field(tag));
            tag = (tag + u64::from(field(tag + 4))).next_multiple_of(8);
        }
        assert_eq!((kinds, tag + 8 - at), (vec![1, 2, 3, 4, 6, 15], field(at).into()));
    }
}

#[test]
fn programs_run_to_their_end_whatever_starts_them() {
    let header = multiboot_2(0, &[&[0, 8]]);
    for kernel in [
        elf(true, EM_X86_64, ET_EXEC, MIB, None),
        elf(true, EM_X86_64, ET_EXEC, MIB, Some(0x10_0008)),
        elf(false, EM_386, ET_EXEC, MIB, Some(0x10_000c)),
        with_header(elf(false, EM_386, ET_EXEC, MIB, None), &header),
        multiboot_1(0x1_0003),
    ] {
        let mut machine = build(&with_kernel(kernel), 64 * MIB).unwrap();
        assert_eq!(machine.run(100), Exit::Request(Request::Finish(0x21)));
    }
}

#[test]
fn headers_of_multiboot_are_checked() {
    use multiboot::Header;
    let segment = Segment { memory: 0x10_0000..0x10_0060, file: 0..64 };
    let found = Header { version: Version::One, segment: Some(segment), entry: Some(0x10_0030) };
    assert_eq!(Header::find(&multiboot_1(0x1_0003)), Ok(Some(found)));
    assert_eq!(Header::find(&multiboot_1(3)).map(|header| header.unwrap().segment), Ok(None));
    assert_eq!(Header::find(&[0; 40000]), Ok(None));
    for (header, error) in [
        (multiboot_2(0, &[&[9, 12, 0], &[0, 8]]), MultibootError::Requires(9)),
        (multiboot_2(0, &[&[1, 0]]), MultibootError::Damaged),
        (multiboot_2(0, &[]), MultibootError::Damaged),
        (multiboot_2(0, &[&[2, 24, 0x10_0000, 0x10_0001, 0, 0], &[0, 8]]), MultibootError::Addresses),
    ] {
        assert_eq!(Header::find(&header), Err(error));
    }
}

/// Cut off anywhere, or with any byte wrong, a file is an error or another program, never a panic.
#[test]
fn damaged_files_are_survived() {
    let multiboot = multiboot_2(0, &[&[2, 24, 0x10_0000, 0x10_0000, 0, 0], &[3, 12, 0x10_0000], &[0, 8]]);
    let files = [
        bzimage(),
        elf(true, EM_X86_64, ET_EXEC, MIB, Some(0x10_0000)),
        elf(false, EM_386, ET_EXEC, MIB, Some(0x10_0000)),
        multiboot_1(0x1_0003),
        multiboot,
    ];
    for whole in files {
        assert!(build(&with_kernel(whole.clone()), 64 * MIB).is_ok());
        for len in 0..whole.len() {
            let _ = kernel::recognize(&whole[..len]);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut file = whole.clone();
                file[at] = value;
                if kernel::recognize(&file).is_ok() {
                    let _ = build(&with_kernel(file), 2 * MIB);
                }
            }
        }
    }
    let cut = kernel::recognize(&bzimage()[..0x230]);
    assert!(matches!(cut, Err(ProgramError::BzImage(BzImageError::CutOff { .. }))), "{cut:?}");
}
