//! What every platform device has in common: no access panics, and a restored device is the saved one.

use c2w_devices::aclint::{self, Aclint, HartLines};
use c2w_devices::backend::char::char_channel;
use c2w_devices::plic::{self, Plic};
use c2w_devices::rtc::{self, Rtc};
use c2w_devices::uart::{self, Uart};
use c2w_engine::addr::Gpa;
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use c2w_engine::mem::ram::Ram;
use proptest::prelude::*;

/// An access: which register, how wide, what to write if anything, and how much time passes.
type Access = (u64, usize, Option<u64>, u64);

fn accesses() -> impl Strategy<Value = Vec<Access>> {
    let value = prop_oneof![0u64..300, any::<u64>()];
    // Small numbers and ones near the start of a register block are likely registers.
    let blocks =
        prop::sample::select(vec![0u64, 0x1000, 0x2000, 0x2080, 0x4000, 0xbff0, 0x20_0000, 0x20_1000]);
    let near = (blocks, 0u64..0x40).prop_map(|(block, offset)| block + offset);
    let offset = prop_oneof![4 => near, 1 => 0u64..0x60_0000];
    prop::collection::vec((offset, 0usize..4, prop::option::of(value), 0u64..1_000_000), 1..100)
}

/// Makes the accesses that the device declares to answer.
fn drive(device: &mut dyn MmioDevice, window_bytes: u64, accesses: &[Access]) {
    let mut ram = Ram::new(Gpa(0), 4096);
    let mut now_ns = 0;
    for &(offset, width, value, passes_ns) in accesses {
        now_ns += passes_ns;
        let width = device.widths()[width % device.widths().len()];
        let offset = (offset % window_bytes) & !(width.bytes() - 1);
        let mut env = DeviceEnv { ram: &mut ram, now_ns, request: &mut None };
        match value {
            Some(value) => device.write(offset, width, value & width.mask(), &mut env),
            None => assert_eq!(device.read(offset, width, &mut env) & !width.mask(), 0),
        }
    }
}

fn lines() -> IrqLines {
    IrqLines::new(&Attention::default())
}

proptest! {
    #[test]
    fn plic(accesses in accesses(), raised in any::<u64>()) {
        let attention = Attention::default();
        let outputs = |lines: &IrqLines| vec![lines.line(0), lines.line(1), lines.line(2)];
        let old_lines = lines();
        let mut plic = Plic::new(96, outputs(&old_lines), &attention);
        (1..64).filter(|source| raised >> source & 1 != 0).for_each(|source| plic.source(source).raise());
        plic.service();
        drive(&mut plic, plic::WINDOW_BYTES, &accesses);
        let new_lines = lines();
        let restored = Plic::restore(96, outputs(&new_lines), &attention, &plic.save()).unwrap();
        prop_assert_eq!(restored.save(), plic.save());
        prop_assert_eq!(new_lines.levels(), old_lines.levels());
    }

    #[test]
    fn aclint(accesses in accesses()) {
        let harts = |lines: &IrqLines| {
            (0..2).map(|hart| HartLines { msip: lines.line(2 * hart), mtip: lines.line(2 * hart + 1) }).collect()
        };
        let old_lines = lines();
        let mut aclint = Aclint::new(harts(&old_lines));
        drive(&mut aclint, aclint::WINDOW_BYTES, &accesses);
        let now_ns = accesses.iter().map(|access| access.3).sum();
        let (mut ram, mut request) = (Ram::new(Gpa(0), 4096), None);
        let mut env = DeviceEnv { ram: &mut ram, now_ns, request: &mut request };
        aclint.service(&mut env);
        let new_lines = lines();
        let mut restored = Aclint::restore(harts(&new_lines), &aclint.save()).unwrap();
        restored.service(&mut env);
        prop_assert_eq!(restored.save(), aclint.save());
        prop_assert_eq!(new_lines.levels(), old_lines.levels());
        prop_assert_eq!(restored.deadline_ns(), aclint.deadline_ns());
        if let Some(deadline_ns) = aclint.deadline_ns() {
            prop_assert!(deadline_ns > now_ns, "what is due has been raised");
        }
    }

    #[test]
    fn uart(accesses in accesses(), input in prop::collection::vec(any::<u8>(), 0..40)) {
        let attention = Attention::default();
        let line = lines().line(0);
        let (channel, host) = char_channel(20, &attention);
        host.write(&input);
        let mut uart = Uart::new(Box::new(channel), line.clone());
        uart.poll();
        // The low registers only, or the port would be idle most of the time.
        let accesses: Vec<Access> = accesses.into_iter().map(|(at, w, v, t)| (at % 9, w, v, t)).collect();
        drive(&mut uart, uart::WINDOW_BYTES, &accesses);
        uart.poll();
        let saved = uart.save();
        prop_assert!(saved.received.len() <= 16 && saved.unsent.len() <= 16);
        let new_line = lines().line(0);
        let (channel, _host) = char_channel(20, &attention);
        let restored = Uart::restore(Box::new(channel), new_line.clone(), &saved).unwrap();
        prop_assert_eq!(restored.save(), saved);
        prop_assert_eq!(new_line.is_high(), line.is_high());
    }

    #[test]
    fn rtc(accesses in accesses(), unix_ns in any::<u64>()) {
        let line = lines().line(0);
        let mut rtc = Rtc::new(Box::new(move || unix_ns), line.clone());
        drive(&mut rtc, rtc::WINDOW_BYTES, &accesses);
        let new_line = lines().line(0);
        let restored = Rtc::restore(Box::new(move || unix_ns), new_line.clone(), &rtc.save());
        prop_assert_eq!(restored.save(), rtc.save());
        prop_assert_eq!(new_line.is_high(), line.is_high());
    }
}
