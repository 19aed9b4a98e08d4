//! From region to region: links, the jump cache, and stores that overwrite code.

use crate::builder::Builder;
use crate::setup::{region, vcpu};
use crate::toy::{RAM, Toy};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES, Page, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::Slot;
use c2w_engine::guest::Mode;
use c2w_engine::host::regions::{CodeId, Left, LinkCell, RegionHost};
use c2w_engine::ir::block::Op;
use c2w_engine::ir::ops::Binary;
use c2w_engine::ir::region::{Region, Way, Ways};

const W: Width = Width::W64;

/// Adds a number to slot 0 and leaves to `to` in the page.
fn adding(number: u64, start: i64, to: i64) -> Region {
    let mut builder = Builder::default();
    builder.insn();
    let a = builder.push(Op::Get(Slot(0)));
    let b = builder.push(Op::Const(number));
    let value = builder.push(Op::Binary { op: Binary::Add, w: W, a, b });
    builder.push(Op::Set { slot: Slot(0), value });
    region(vec![(start, builder.finish(), Ways::One(Way::Out(to)))])
}

/// Writes its own address to slot 1 and jumps to what slot 2 holds.
fn jumping(start: i64) -> Region {
    let mut builder = Builder::default();
    builder.insn();
    let value = builder.push(Op::Pc);
    builder.push(Op::Set { slot: Slot(1), value });
    builder.insn();
    let target = builder.push(Op::Get(Slot(2)));
    builder.push(Op::Jump { target });
    region(vec![(start, builder.finish(), Ways::Indirect)])
}

fn enter(host: &mut impl RegionHost<Toy>, cpu: &mut Cpu<Toy>, code: CodeId, pc: u64, budget: u64) -> Left {
    cpu.pc = Gva(pc);
    host.enter(cpu, code, budget).unwrap()
}

#[test]
fn links_lead_from_region_to_region_until_they_end() {
    let (mut cpu, mut host) = vcpu(4 * PAGE_BYTES);
    for _generation in 0..2 {
        cpu.slots[0] = 0;
        let one = host.compile(&adding(1, 0, 0x100), 0).unwrap();
        let ten = host.compile(&adding(10, 0x100, 0), 0).unwrap();
        let Left::Unlinked(from_one) = enter(&mut host, &mut cpu, one, RAM, 100) else { panic!() };
        assert_eq!((cpu.pc.0, cpu.slots[0]), (RAM + 0x100, 1));
        host.link(from_one, ten);
        let Left::Unlinked(from_ten) = enter(&mut host, &mut cpu, one, RAM, 100) else { panic!() };
        assert_eq!((cpu.pc.0, cpu.slots[0]), (RAM, 12));
        host.link(from_ten, one);
        let retired = cpu.retired;
        assert_eq!(enter(&mut host, &mut cpu, one, RAM, 101), Left::Countdown);
        assert_eq!((cpu.pc.0, cpu.slots[0], cpu.retired - retired), (RAM + 0x100, 12 + 50 * 11 + 1, 101));
        host.unlink(ten);
        assert_eq!(enter(&mut host, &mut cpu, ten, RAM + 0x100, 100), Left::Unlinked(from_one));
        host.discard().unwrap();
    }
    let all = host.compile(&adding(1, 0, 0), 0).unwrap();
    assert_eq!(enter(&mut host, &mut cpu, all, RAM, 1), Left::Unlinked(LinkCell(0)));
}

#[test]
fn jumps_are_looked_up_under_their_context() {
    let (mut cpu, mut host) = vcpu(4 * PAGE_BYTES);
    let jump = host.compile(&jumping(0x40), 0).unwrap();
    let target = RAM + PAGE_BYTES + 0x40;
    cpu.slots[2] = target;
    assert_eq!(enter(&mut host, &mut cpu, jump, RAM + 0x40, 100), Left::Jump);
    assert_eq!((cpu.pc.0, cpu.slots[1]), (target, RAM + 0x40));
    // Its code runs in the page that it is entered in.
    host.note_jump(&mut cpu, Gva(target), jump);
    let retired = cpu.retired;
    assert_eq!(enter(&mut host, &mut cpu, jump, RAM + 0x40, 9), Left::Countdown);
    assert_eq!((cpu.pc.0, cpu.slots[1], cpu.retired - retired), (target, target, 8));
    cpu.set_mode(Mode(1), 0, 0);
    assert_eq!(enter(&mut host, &mut cpu, jump, RAM + 0x40, 100), Left::Jump);
    cpu.set_mode(Mode(0), 0, 0);
    cpu.slots[2] = target + 0x40 * PAGE_BYTES;
    assert_eq!(enter(&mut host, &mut cpu, jump, RAM + 0x40, 100), Left::Jump, "another row's worth away");
    // A way into another page is a jump, too.
    let away = host.compile(&adding(5, 0, PAGE_BYTES as i64 + 0x40), 0).unwrap();
    cpu.slots[2] = 0;
    assert_eq!(enter(&mut host, &mut cpu, away, RAM, 100), Left::Jump);
    assert_eq!((cpu.pc.0, cpu.slots[0], cpu.slots[1]), (0, 5, target));
    cpu.tlb.flush();
    assert_eq!(enter(&mut host, &mut cpu, away, RAM, 100), Left::Jump);
    assert_eq!((cpu.pc.0, cpu.slots[0]), (target, 10));
}

/// Adds 1 to slot 0, then does to memory at slot 1 what `push` says.
fn writing(push: impl FnOnce(&mut Builder)) -> Region {
    let mut builder = Builder::default();
    builder.insn();
    let a = builder.push(Op::Get(Slot(0)));
    let b = builder.push(Op::Const(1));
    let value = builder.push(Op::Binary { op: Binary::Add, w: W, a, b });
    builder.push(Op::Set { slot: Slot(0), value });
    builder.insn();
    push(&mut builder);
    builder.insn();
    region(vec![(0, builder.finish(), Ways::One(Way::Out(0x800)))])
}

#[test]
fn writes_to_code_are_left_to_the_interpreter() {
    use c2w_engine::ir::ops::Amo;
    let written: [fn(&mut Builder); 3] = [
        |to| {
            let (addr, value) = (to.push(Op::Get(Slot(1))), to.push(Op::Get(Slot(2))));
            to.push(Op::Store { w: W, addr, value });
        },
        |to| {
            let (addr, value) = (to.push(Op::Get(Slot(1))), to.push(Op::Get(Slot(2))));
            to.push(Op::Amo { op: Amo::Swap, w: W, addr, value });
        },
        |to| {
            let (addr, new) = (to.push(Op::Get(Slot(1))), to.push(Op::Get(Slot(2))));
            let expected = to.push(Op::Const(0));
            to.push(Op::CompareExchange { w: W, addr, expected, new });
        },
    ];
    for push in written {
        let (mut cpu, mut host) = vcpu(4 * PAGE_BYTES);
        let code = host.compile(&writing(push), 0).unwrap();
        let page = RAM + 2 * PAGE_BYTES;
        cpu.slots[2] = 0x1234;
        let mut write_to = |cpu: &mut Cpu<Toy>, addr| {
            (cpu.slots[0], cpu.slots[1]) = (0, addr);
            let retired = cpu.retired;
            let left = enter(&mut host, cpu, code, RAM, 100);
            (left, cpu.pc.0 - RAM, cpu.slots[0], cpu.retired - retired, cpu.ram.read_u64(Gpa(addr)).unwrap())
        };
        let done = |left, value| (left, 0x800, 1, 3, value);
        let unlinked = Left::Unlinked(LinkCell(0));
        assert_eq!(write_to(&mut cpu, page), done(unlinked, 0x1234));
        // The page has a write tag by now, which code takes away.
        cpu.note_code(Page(page >> 12), 0x40, 4);
        assert_eq!(write_to(&mut cpu, page + 0x40), (Left::Interpret, 4, 1, 1, 0));
        assert_eq!(write_to(&mut cpu, page + 0x100), done(unlinked, 0x1234), "beside the code");
        assert!(!cpu.ram.has_written_code() && cpu.ram.holds_code(Page(page >> 12)));
    }
}
