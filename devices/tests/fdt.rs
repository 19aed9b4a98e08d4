//! The device tree nodes that devices write, printed as source.

use c2w_devices::aclint::{self, Aclint};
use c2w_devices::backend::char::NullChar;
use c2w_devices::fdt::{FdtWriter, Place};
use c2w_devices::plic::{self, Plic};
use c2w_devices::poweroff::{self, Poweroff};
use c2w_devices::rtc::{self, Rtc};
use c2w_devices::uart::{self, Uart};
use c2w_devices::virtio::console::{Console, ConsoleSize, PortOptions};
use c2w_devices::virtio::mmio::{self, VirtioMmio};
use c2w_engine::addr::Gpa;
use c2w_engine::irq::{Attention, IrqLines};

/// Prints a flattened device tree (devicetree specification 0.4, §5.4): strings as strings, all else as cells.
fn print(blob: &[u8]) -> String {
    let word = |at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap());
    let text = |at: usize| {
        let end = at + blob[at..].iter().position(|&byte| byte == 0).unwrap();
        std::str::from_utf8(&blob[at..end]).unwrap()
    };
    let (mut at, strings) = (word(8) as usize, word(12) as usize);
    let (mut out, mut depth) = (String::new(), 0);
    loop {
        let token = word(at);
        at += 4;
        match token {
            1 => {
                let name = text(at);
                let shown = if depth == 0 { "/" } else { name };
                out += &format!("{}{shown} {{\n", "  ".repeat(depth));
                at += (name.len() + 1).next_multiple_of(4);
                depth += 1;
            }
            2 => {
                depth -= 1;
                out += &format!("{}}}\n", "  ".repeat(depth));
            }
            3 => {
                let (len, name) = (word(at) as usize, text(strings + word(at + 4) as usize));
                let value = &blob[at + 8..at + 8 + len];
                let shown = match name {
                    "compatible" => {
                        let list = value[..len - 1].split(|&byte| byte == 0);
                        list.map(|text| format!(" {:?}", std::str::from_utf8(text).unwrap())).collect()
                    }
                    _ => {
                        let cells = value.chunks(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap()));
                        cells.map(|cell| format!(" {cell:#x}")).collect::<String>()
                    }
                };
                out += &format!("{}{name}{shown}\n", "  ".repeat(depth));
                at += 8 + len.next_multiple_of(4);
            }
            _ => return out,
        }
    }
}

const EXPECTED: &str = "\
/ {
  clint@2000000 {
    compatible \"sifive,clint0\" \"riscv,clint0\"
    reg 0x0 0x2000000 0x0 0x10000
    interrupts-extended 0x1 0x3 0x1 0x7
  }
  plic@c000000 {
    compatible \"sifive,plic-1.0.0\" \"riscv,plic0\"
    reg 0x0 0xc000000 0x0 0x600000
    interrupt-controller
    #interrupt-cells 0x1
    #address-cells 0x0
    interrupts-extended 0x1 0xb 0x1 0x9
    riscv,ndev 0x5f
    phandle 0x2
  }
  serial@10000000 {
    compatible \"ns16550a\"
    reg 0x0 0x10000000 0x0 0x100
    clock-frequency 0x384000
    interrupts 0xa
    interrupt-parent 0x2
  }
  rtc@101000 {
    compatible \"google,goldfish-rtc\"
    reg 0x0 0x101000 0x0 0x1000
    interrupts 0xb
    interrupt-parent 0x2
  }
  test@100000 {
    compatible \"sifive,test1\" \"sifive,test0\" \"syscon\"
    reg 0x0 0x100000 0x0 0x1000
    phandle 0x3
  }
  poweroff {
    compatible \"syscon-poweroff\"
    regmap 0x3
    offset 0x0
    value 0x5555
  }
  reboot {
    compatible \"syscon-reboot\"
    regmap 0x3
    offset 0x0
    value 0x7777
  }
  virtio_mmio@10001000 {
    compatible \"virtio,mmio\"
    reg 0x0 0x10001000 0x0 0x1000
    interrupts 0x1
    interrupt-parent 0x2
  }
}
";

#[test]
fn nodes_of_a_virt_board() {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let place = |base, len_bytes, irq| Place { base: Gpa(base), len_bytes, irq, interrupt_parent: 2 };
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    Aclint::new(Vec::new()).write_fdt(&mut fdt, &place(0x200_0000, aclint::WINDOW_BYTES, 0), &[1]).unwrap();
    Plic::new(96, vec![lines.line(0), lines.line(1)], &attention)
        .write_fdt(&mut fdt, &place(0xc00_0000, plic::WINDOW_BYTES, 0), 2, &[1])
        .unwrap();
    Uart::new(Box::new(NullChar), lines.line(2))
        .write_fdt(&mut fdt, &place(0x1000_0000, uart::WINDOW_BYTES, 10))
        .unwrap();
    Rtc::new(Box::new(|| 0), lines.line(3))
        .write_fdt(&mut fdt, &place(0x10_1000, rtc::WINDOW_BYTES, 11))
        .unwrap();
    Poweroff.write_fdt(&mut fdt, &place(0x10_0000, poweroff::WINDOW_BYTES, 0), 3).unwrap();
    let port = PortOptions { name: String::new(), is_console: true, backend: Box::new(NullChar) };
    VirtioMmio::new(Box::new(Console::new(vec![port], ConsoleSize::default())), lines.line(4))
        .write_fdt(&mut fdt, &place(0x1000_1000, mmio::WINDOW_BYTES, 1))
        .unwrap();
    fdt.end_node(root).unwrap();
    assert_eq!(print(&fdt.finish().unwrap()), EXPECTED);
}
