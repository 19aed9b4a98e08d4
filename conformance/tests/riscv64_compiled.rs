//! Random riscv64 code leaves the same machine behind whether it is interpreted or compiled, to wasm or by
//! Cranelift.

use c2w_conformance::riscv64::passes::compare;
use c2w_conformance::riscv64::random::Random;
use c2w_conformance::riscv64::{Compiler, compiling_user_machine};

#[test]
fn wasm_leaves_the_same_behind() {
    compare(&mut Random(7), 24, |image| compiling_user_machine(Compiler::Wasm, image, 1));
}

#[test]
fn cranelift_leaves_the_same_behind() {
    compare(&mut Random(7), 24, |image| compiling_user_machine(Compiler::Cranelift, image, 1));
}
