//! Random riscv64 code leaves the same machine behind whether it is interpreted or translated to wasm.

use c2w_conformance::riscv64::passes::compare;
use c2w_conformance::riscv64::random::Random;
use c2w_conformance::riscv64::wasm_user_machine;

#[test]
fn translated_programs_leave_the_same_behind() {
    compare(&mut Random(7), 24, |image| wasm_user_machine(image, 1));
}
