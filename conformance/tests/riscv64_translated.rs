//! Random riscv64 code leaves the same machine behind whether it is interpreted or translated to code of this host.

#![cfg(all(unix, target_arch = "x86_64"))]

use c2w_conformance::riscv64::passes::compare;
use c2w_conformance::riscv64::random::Random;
use c2w_conformance::riscv64::user_machine;

#[test]
fn translated_programs_leave_the_same_behind() {
    compare(&mut Random(8), 400, |image| {
        let mut machine = user_machine(image);
        assert!(machine.translate(1), "this host runs generated code");
        machine
    });
}
