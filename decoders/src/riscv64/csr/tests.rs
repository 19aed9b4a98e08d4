//! What each register keeps of what is written, and who may touch it.

use super::*;
use crate::riscv64::guest::HartState;
use crate::riscv64::testing::{cpu, cpu_with};

const RAW: u64 = 0x1234_5073;

fn get(cpu: &mut Cpu<Riscv64>, number: u16) -> Result<u64, Trap> {
    access(cpu, number.into(), CsrOp::Read, RAW)
}

fn put(cpu: &mut Cpu<Riscv64>, number: u16, value: u64) {
    access(cpu, number.into(), CsrOp::Write(value), RAW).unwrap();
}

#[test]
fn written_ones_and_zeroes_read_back_as_the_register_allows() {
    const SSI_STI_SEI: u64 = 0x222;
    for (number, ones) in [
        (STVEC, !2),
        (MTVEC, !2),
        (SEPC, !1),
        (MEPC, !1),
        (SSCRATCH, u64::MAX),
        (MSCRATCH, u64::MAX),
        (SCAUSE, u64::MAX),
        (MCAUSE, u64::MAX),
        (STVAL, u64::MAX),
        (MTVAL, u64::MAX),
        (STIMECMP, u64::MAX),
        (SCOUNTEREN, 0xffff_ffff),
        (MCOUNTEREN, 0xffff_ffff),
        (MCOUNTINHIBIT, 5),
        (MEDELEG, 0xb3ff),
        (MIDELEG, SSI_STI_SEI),
        (MIE, 0xaaa),
        (MENVCFG, 0xe000_0000_0000_00f1),
        (SENVCFG, 0xf1),
        (PMPADDR0, (1 << 54) - 1),
        (TSELECT, 0),
        (TDATA1, 0),
        (MHPMCOUNTER3, 0),
        (MHPMEVENT31, 0),
    ] {
        let mut cpu = cpu();
        put(&mut cpu, number, u64::MAX);
        assert_eq!(get(&mut cpu, number), Ok(ones), "csr {number:#x} after all ones");
        put(&mut cpu, number, 0);
        assert_eq!(get(&mut cpu, number), Ok(0), "csr {number:#x} after zero");
    }
    let mut cpu = cpu();
    put(&mut cpu, MISA_CSR, 0);
    assert_eq!(get(&mut cpu, MISA_CSR), Ok(0x8000_0000_0014_112f));
}

#[test]
fn privilege_decides() {
    use Privilege::{Machine, Supervisor, User};
    for (number, m, s, u) in [
        (MSTATUS, true, false, false),
        (PMPADDR15, true, false, false),
        (SSTATUS, true, true, false),
        (SATP, true, true, false),
        // Off floating point, closed counters and an absent timer.
        (FCSR, false, false, false),
        (CYCLE, true, false, false),
        (STIMECMP, true, false, false),
        // No such registers.
        (0x3a1, false, false, false),
        (0x3c0, false, false, false),
        (0xda0, false, false, false),
        (0x747, false, false, false),
        (0x008, false, false, false),
    ] {
        for (privilege, allowed) in [(Machine, m), (Supervisor, s), (User, u)] {
            let mut cpu = cpu_with(HartState { privilege, ..HartState::reset(0) });
            let got = get(&mut cpu, number);
            let wanted = if allowed { Ok(()) } else { Err(illegal(RAW)) };
            assert_eq!(got.map(|_| ()), wanted, "csr {number:#x} {privilege:?}");
        }
    }
    let mut cpu = cpu();
    assert_eq!(get(&mut cpu, MHARTID), Ok(0));
    assert_eq!(access(&mut cpu, MHARTID.into(), CsrOp::Set(1), RAW), Err(illegal(RAW)), "read-only");
}

#[test]
fn enables_open_counters_timer_and_floating_point() {
    use Privilege::{Supervisor, User};
    let state = |privilege, mcounteren, scounteren, menvcfg, mstatus| HartState {
        privilege,
        mcounteren,
        scounteren,
        menvcfg,
        mstatus: status::write_m(status::RESET, mstatus),
        ..HartState::reset(0)
    };
    for (number, state, allowed) in [
        (CYCLE, state(Supervisor, CY, 0, 0, 0), true),
        (CYCLE, state(User, CY, 0, 0, 0), false),
        (CYCLE, state(User, 0, CY, 0, 0), false),
        (CYCLE, state(User, CY, CY, 0, 0), true),
        (TIME, state(User, TM, TM, 0, 0), true),
        (INSTRET, state(User, TM, TM, 0, 0), false),
        (HPMCOUNTER31, state(User, 1 << 31, 1 << 31, 0, 0), true),
        (STIMECMP, state(Supervisor, TM, 0, 0, 0), false),
        (STIMECMP, state(Supervisor, 0, 0, envcfg::STCE, 0), false),
        (STIMECMP, state(Supervisor, TM, 0, envcfg::STCE, 0), true),
        (FFLAGS, state(User, 0, 0, 0, 1 << status::FS_SHIFT), true),
        (SATP, state(Supervisor, 0, 0, 0, status::TVM), false),
    ] {
        let mut cpu = cpu_with(state);
        assert_eq!(get(&mut cpu, number).is_ok(), allowed, "csr {number:#x} {:?}", cpu.guest.state);
    }
}

#[test]
fn supervisor_views_show_what_is_delegated() {
    let mut cpu = cpu();
    put(&mut cpu, MIE, u64::MAX);
    put(&mut cpu, MIP, u64::MAX);
    assert_eq!((get(&mut cpu, SIE), get(&mut cpu, SIP)), (Ok(0), Ok(0)));
    put(&mut cpu, MIDELEG, 0x22);
    assert_eq!((get(&mut cpu, SIE), get(&mut cpu, SIP)), (Ok(0x22), Ok(0x22)));
    put(&mut cpu, SIE, 0);
    assert_eq!(get(&mut cpu, MIE), Ok(0xa88));
    put(&mut cpu, SIP, 0);
    assert_eq!(get(&mut cpu, MIP), Ok(0x220), "S-mode clears only its software interrupt");
}

#[test]
fn the_external_pin_shows_but_is_not_written_back() {
    let mut cpu = cpu();
    let pin = cpu.irq.line(irq::SEI);
    pin.raise();
    let old = access(&mut cpu, MIP.into(), CsrOp::Set(2), RAW);
    assert_eq!((old, get(&mut cpu, MIP)), (Ok(0x200), Ok(0x202)));
    pin.lower();
    assert_eq!(get(&mut cpu, MIP), Ok(2));
}

#[test]
fn the_supervisor_timer_follows_its_comparator() {
    let mut cpu = cpu();
    put(&mut cpu, MENVCFG, envcfg::STCE);
    put(&mut cpu, STIMECMP, 10);
    put(&mut cpu, MIP, 0x20);
    assert_eq!(get(&mut cpu, MIP), Ok(0), "the timer bit is read-only");
    assert_eq!(irq::deadline_ns(&cpu), Some(1000));
    cpu.retired = 10;
    assert_eq!(get(&mut cpu, MIP), Ok(0x20));
    assert_eq!(irq::deadline_ns(&cpu), None);
    put(&mut cpu, STIMECMP, 11);
    assert_eq!(get(&mut cpu, MIP), Ok(0));
    put(&mut cpu, STIMECMP, 0);
    put(&mut cpu, MENVCFG, 0);
    assert_eq!(get(&mut cpu, MIP), Ok(0));
}

#[test]
fn counters_count_and_floating_point_gets_dirty() {
    let mut cpu = cpu();
    cpu.retired = 7;
    assert_eq!((get(&mut cpu, MINSTRET), get(&mut cpu, CYCLE)), (Ok(6), Ok(6)));
    put(&mut cpu, MINSTRET, 100);
    cpu.retired = 9;
    assert_eq!((get(&mut cpu, INSTRET), get(&mut cpu, TIME)), (Ok(101), Ok(9)));
    put(&mut cpu, MSTATUS, 1 << status::FS_SHIFT);
    put(&mut cpu, FCSR, 0xffff);
    assert_eq!((get(&mut cpu, FRM), get(&mut cpu, FFLAGS), get(&mut cpu, FCSR)), (Ok(7), Ok(0x1f), Ok(0xff)));
    assert_eq!(get(&mut cpu, SSTATUS), Ok(1 << 63 | 2 << 32 | 3 << status::FS_SHIFT));
}

#[test]
fn a_saved_hart_is_the_same_and_an_impossible_one_is_refused() {
    let mut cpu = cpu();
    for number in [MSTATUS, MIE, MTVEC, SATP, MEDELEG, PMPADDR0, PMPCFG0, MENVCFG, STIMECMP] {
        put(&mut cpu, number, 0x8765_4321_1234_5678);
    }
    let saved = HartState::from(cpu.guest.clone());
    assert_eq!(saved.pmp.addr[0], cpu.guest.pmp.read_addr(0));
    assert_eq!(HartState::from(Riscv64::try_from(saved.clone()).unwrap()), saved);
    let error = Riscv64::try_from(HartState { sepc: 1, ..saved }).unwrap_err();
    assert_eq!(error.to_string(), "the saved hart has an impossible sepc");
}
